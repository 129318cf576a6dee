//! A logging program that is a shell, behind the real step between.

use super::*;

const STEP_BETWEEN: &str = "stdio::logger::tests::the_step_between";

/// What the test harness has to be told so that it is [`the_step_between`]; everything behind is no flag of its own.
pub fn as_test(mut command: Command) -> Command {
    command.args(["--exact", "--nocapture", STEP_BETWEEN, "--"]);
    command
}

/// Not a test by itself: the program that `ourselves` starts.
#[test]
fn the_step_between() {
    let mut arguments = std::env::args_os().skip_while(|argument| argument != WORD);
    if arguments.next().is_some() {
        become_logger(arguments);
        panic!("it returns only on failure");
    }
}
