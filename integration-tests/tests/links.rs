//! The project's own pages: relative links lead to files that exist, and the pages that name rules name all that the code cites.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file of the project with one of these endings, as git knows them.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "-z", "--"])
        .args(endings.iter().map(|ending| format!("*.{ending}")))
        .current_dir(&root)
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).expect("names in UTF-8");
    let names = listed.split('\0').filter(|name| !name.is_empty());
    names.map(|name| root.join(name)).collect()
}

/// What stands in `](…)`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let ends = page.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

#[test]
fn relative_links_lead_to_files() {
    let pages = files(&["md"]);
    assert!(pages.len() > 3, "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page");
        let directory = page.parent().expect("a page lies in a directory");
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or(link);
            if fs::metadata(directory.join(file)).is_err() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_rules_that_comments_cite_are_in_the_table() {
    let table = files(&["md"])
        .into_iter()
        .find(|page| page.ends_with("docs/security.md"))
        .expect("docs/security.md");
    let table = fs::read_to_string(table).expect("docs/security.md");
    let mut unknown = Vec::new();
    for file in files(&["rs"]) {
        let text = fs::read_to_string(&file).expect("a source file");
        let comments = text
            .lines()
            .filter(|line| line.trim_start().starts_with("//"));
        for word in comments.flat_map(|line| line.split(|c: char| !c.is_alphanumeric())) {
            let number = word.strip_prefix('R').unwrap_or("");
            let is_rule = (1..=2).contains(&number.len()) && number.parse::<u8>().is_ok();
            if is_rule && !table.contains(&format!("| {word} |")) {
                unknown.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
