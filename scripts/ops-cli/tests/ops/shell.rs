//! Which programs a shell script starts, as far as its text names them.

use std::collections::BTreeSet;

/// Words after which another command begins.
const BEFORE_COMMANDS: [&str; 11] =
    ["!", "{", "do", "elif", "else", "exec", "if", "then", "time", "until", "while"];
/// What the shell does itself.
const BUILT_IN: [&str; 40] = [
    ".", ":", "[", "alias", "break", "builtin", "cd", "command", "continue", "declare", "done", "echo",
    "esac", "eval", "exit", "export", "false", "fi", "for", "function", "in", "kill", "local", "printf",
    "pwd", "read", "readonly", "return", "select", "set", "shift", "source", "test", "trap", "true", "type",
    "umask", "unset", "wait", "}",
];

/// Names of commands in a script that are neither built in, nor its own functions, nor paths, nor made of variables.
pub(crate) fn commands(script: &str) -> BTreeSet<String> {
    let text = without_documents(script);
    let mut reader =
        Reader { rest: text.chars().collect(), at: 0, found: BTreeSet::new(), functions: BTreeSet::new() };
    while reader.at < reader.rest.len() {
        reader.list();
    }
    let is_name = |word: &str| {
        word.chars().all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it)) && !BUILT_IN.contains(&word)
    };
    reader.found.into_iter().filter(|it| is_name(it) && !reader.functions.contains(it)).collect()
}

/// The script without its here-documents.
fn without_documents(script: &str) -> String {
    let (mut text, mut end) = (String::new(), None::<String>);
    for line in script.lines() {
        if let Some(mark) = &end {
            if line == mark {
                end = None;
            }
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if let Some((_, mark)) = line.split_once("<<").filter(|(_, mark)| !mark.starts_with('<')) {
            let mark = mark.trim_start_matches(['\'', '"']);
            let length = mark.find(|it: char| !it.is_ascii_alphanumeric()).unwrap_or(mark.len());
            end = (length > 0).then(|| mark[..length].to_owned());
        }
    }
    text
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    found: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Reader {
    fn sees(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(offset, it)| self.rest.get(self.at + offset) == Some(&it))
    }

    /// Skips `text` if it is next.
    fn takes(&mut self, text: &str) -> bool {
        let sees = self.sees(text);
        if sees {
            self.at += text.chars().count();
        }
        sees
    }

    /// Reads commands up to the parenthesis that ends them, or the end.
    fn list(&mut self) {
        let (mut is_command, mut is_target) = (true, false);
        // For each `case`: whether a pattern comes next.
        let mut cases: Vec<bool> = Vec::new();
        while self.at < self.rest.len() {
            if self.takes("\\\n") || self.takes(" ") || self.takes("\t") {
                continue;
            }
            if self.sees("#") {
                self.skip_to("\n");
            } else if self.takes(";;") {
                if let Some(is_pattern) = cases.last_mut() {
                    *is_pattern = true;
                }
            } else if self.takes("<(") || self.takes(">(") {
                self.list();
                is_target = false;
            } else if self.takes("<<<")
                || self.takes("<&")
                || self.takes(">&")
                || self.takes("<")
                || self.takes(">")
            {
                is_target = true;
            } else if self.takes("((") {
                self.skip_to("))");
                self.at += 2;
            } else if self.takes("&")
                || self.takes("|")
                || self.takes("\n")
                || self.takes(";")
                || self.takes("(")
            {
                is_command = true;
            } else if self.takes(")") {
                match cases.last_mut() {
                    Some(is_pattern) if *is_pattern => *is_pattern = false,
                    _ => return,
                }
                is_command = true;
            } else {
                let word = self.word();
                let is_number = !word.is_empty() && word.chars().all(|it| it.is_ascii_digit());
                let is_pattern = cases.last() == Some(&true);
                if is_target || (is_number && (self.sees("<") || self.sees(">"))) {
                    is_target = false;
                } else if word == "in" && cases.last() == Some(&false) && !is_command {
                    *cases.last_mut().unwrap() = true;
                } else if is_pattern {
                    if word == "esac" {
                        cases.pop();
                    }
                } else if is_command && self.takes("()") {
                    self.functions.insert(word);
                } else if is_command && word == "[[" {
                    self.condition();
                    is_command = false;
                } else if is_command && word == "case" {
                    cases.push(false);
                    is_command = false;
                } else if is_command && word == "esac" {
                    cases.pop();
                    is_command = false;
                } else if is_command && !BEFORE_COMMANDS.contains(&word.as_str()) && !is_assignment(&word) {
                    self.found.insert(word);
                    is_command = false;
                }
            }
        }
    }

    /// Reads up to the end of a condition, in which operators have another meaning.
    fn condition(&mut self) {
        while self.at < self.rest.len() && !self.takes("]]") {
            if self.rest[self.at].is_whitespace() || "<>|&()".contains(self.rest[self.at]) {
                self.at += 1;
            } else {
                self.word();
            }
        }
    }

    /// Reads one word; in place of what is only known when the script runs stands a `$`.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while self.at < self.rest.len() {
            if self.takes("\\") {
                self.at += 1;
                word.push('$');
            } else if self.takes("'") {
                let from = self.at;
                self.skip_to("'");
                word.extend(&self.rest[from..self.at]);
                self.at += 1;
            } else if self.takes("\"") {
                while self.at < self.rest.len() && !self.takes("\"") {
                    if !self.expansion(&mut word) {
                        self.at += usize::from(self.sees("\\"));
                        word.extend(self.rest.get(self.at));
                        self.at += 1;
                    }
                }
            } else if self.expansion(&mut word) {
            } else if word.ends_with('=') && self.takes("(") {
                // The elements of an array.
                while self.at < self.rest.len() && !self.takes(")") {
                    if self.rest[self.at].is_whitespace() {
                        self.at += 1;
                    } else {
                        self.word();
                    }
                }
            } else if " \t\n;&|<>()".contains(self.rest[self.at]) {
                break;
            } else {
                word.push(self.rest[self.at]);
                self.at += 1;
            }
        }
        word
    }

    /// Reads something that begins with a dollar sign, if it is next.
    fn expansion(&mut self, word: &mut String) -> bool {
        if self.takes("$((") {
            self.skip_to("))");
            self.at += 2;
        } else if self.takes("$(") {
            self.list();
        } else if self.takes("${") {
            while self.at < self.rest.len() && !self.takes("}") {
                if !self.expansion(&mut String::new()) {
                    self.at += 1;
                }
            }
        } else if !self.takes("$") {
            return false;
        }
        word.push('$');
        true
    }

    fn skip_to(&mut self, end: &str) {
        while self.at < self.rest.len() && !self.sees(end) {
            self.at += 1;
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim_end_matches('+').split('[').next().unwrap_or_default();
        !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    })
}

#[test]
fn commands_of_a_script_are_found_wherever_they_are() {
    #[track_caller]
    fn check(script: &str, expected: &[&str]) {
        assert_eq!(commands(script), expected.iter().map(|it| (*it).to_owned()).collect(), "{script}");
    }
    check("# rm\na; b && c | d & e\n", &["a", "b", "c", "d", "e"]);
    check("X=1 Y[0]+=2 a b c", &["a"]);
    check("if ! a; then b; else c; fi; while d; do e; done", &["a", "b", "c", "d", "e"]);
    check("for x in a b; do c \"$x\"; done", &["c"]);
    check("case $x in a | b) c ;; *) d; e ;; esac; f", &["c", "d", "e", "f"]);
    check("case $(a) in\n  x) case b in y) c ;; esac ;;\nesac\nd", &["a", "c", "d"]);
    check("x=$(a \"$(b 'c')\") y=(d e \"$(f)\") g=${h:-$(i)} j", &["a", "b", "f", "i", "j"]);
    check("a >b 2>c <d <<<e; f < <(g)\nh", &["a", "f", "g", "h"]);
    check("[[ a == b && $(c) > d ]] || e", &["c", "e"]);
    check("((a > b)) && c $((d + e)); for ((i = 0; i < 3; i++)); do f; done", &["c", "f"]);
    check("f() { a; }\nf; exec b; \"$c\"; ./d; echo e", &["a", "b"]);
    check("a <<'END'\nb\nEND\nc \\\n  d", &["a", "c"]);
    check("(cd x && a) || { b; exit; }", &["a", "b"]);
}
