//! Runs the real binary as a user would, in a home directory of its own.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod iot;
pub(crate) mod machines;
pub(crate) mod network;
pub(crate) mod running;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A home directory. The environment has nothing of the caller's in it.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("dir") }
    }

    /// One that has made and registered the identity `jis:home:hub`, which offers mqtt at 203.0.113.1:44321.
    pub(crate) fn with_hub() -> Self {
        let home = Self::new();
        home.ok("id new jis:home:hub");
        home.ok("register --capability mqtt --endpoint 203.0.113.1:44321");
        home
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The default state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path(".local/state/tibet")
    }

    pub(crate) fn write(&self, below: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("dir");
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tibet-overlay"));
        command.env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs with arguments separated by spaces.
    pub(crate) fn run(&self, args: &str) -> Ran {
        self.run_args(&args.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_args(&self, args: &[&str]) -> Ran {
        finish(self.command().args(args))
    }

    /// Runs, which must succeed without a word on standard error, and gives what it prints.
    pub(crate) fn ok(&self, args: &str) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args}: {}", ran.out);
        ran.out
    }

    /// Runs with `--json`, which must exit with `code` and print one object on one line.
    pub(crate) fn json(&self, args: &str, code: i32) -> Value {
        let ran = self.run(&format!("{args} --json"));
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert_eq!(ran.out.matches('\n').count(), 1, "{args}: one line: {}", ran.out);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{args}: {error}: {}", ran.out))
    }
}

pub(crate) fn finish(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ran {
    /// The exit code and the whole of standard error.
    pub(crate) fn refusal(&self) -> (Option<i32>, &str) {
        (self.code, self.err.as_str())
    }
}

/// Names of all members, nested ones with dots, those of list elements with `[]`.
pub(crate) fn members(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    found.insert(at.clone());
                    walk(value, &at, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, &format!("{at}[]"), found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
