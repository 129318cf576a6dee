//! Planned limits in words, for `explain`.

use crate::Pointer;

use super::{Step, Write};

impl Step {
    /// What is done, with the key that asks for it; a line for each write but alternatives.
    pub fn describe(&self) -> Vec<(String, &Pointer)> {
        let one = |write| vec![line(write, "")];
        match self {
            Step::Write(write) => one(write),
            Step::IfPresent(write) => vec![line(write, ", if the kernel has that file")],
            Step::ReadBack(write) => vec![line(write, ", and read it back")],
            Step::AnyOrder(writes) => {
                let others = |this: &Write| {
                    let others = writes.iter().filter(|other| other.file != this.file);
                    let names = others.map(|other| other.file.as_ref()).collect::<Vec<_>>();
                    format!(", before or after {}", names.join(" and "))
                };
                writes
                    .iter()
                    .map(|write| line(write, &others(write)))
                    .collect()
            }
            Step::FirstPresent(writes) => {
                let choices = writes.iter().map(words).collect::<Vec<_>>();
                let text = choices.join("; if that file is not there, ");
                writes
                    .first()
                    .map(|write| (text, &write.at))
                    .into_iter()
                    .collect()
            }
            Step::NotBelowUsage { limit, usage } => {
                let text = format!(
                    "refuse the limit {} unless {usage} is below it",
                    limit.value
                );
                vec![(text, &limit.at)]
            }
        }
    }
}

fn line<'a>(write: &'a Write, more: &str) -> (String, &'a Pointer) {
    (format!("{}{more}", words(write)), &write.at)
}

fn words(write: &Write) -> String {
    format!("write {} to {}", write.value.trim_end(), write.file)
}
