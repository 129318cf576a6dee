//! The few shapes of JSON that the command prints, written as Go's encoding/json writes them, because engines compare and parse them.

/// Appends `text` as a JSON string. `<`, `>`, `&` and the two line separators of Unicode are escaped, as Go does for HTML's sake.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                push_escape(out, character)
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, character: char) {
    out.push_str("\\u");
    let value = u32::from(character);
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(value >> shift & 0xf, 16).unwrap_or('0'));
    }
}

/// Writes one object, either on one line or indented by two spaces a level.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    indent: Option<usize>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at nesting `indent` (0 is the outermost); `None` writes everything on one line.
    pub fn open(out: &'a mut String, indent: Option<usize>) -> Object<'a> {
        out.push('{');
        Object {
            out,
            indent,
            empty: true,
        }
    }

    /// A string member.
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        push_string(self.out, value);
    }

    /// A number member.
    pub fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        self.out.push_str(&value.to_string());
    }

    /// A number member that is left out when it is 0 (Go's `omitempty`).
    pub fn nonzero(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    /// A string member that is left out when it is empty.
    pub fn nonempty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.string(key, value);
        }
    }

    /// An array member of numbers, left out when it is empty. Always on one line.
    pub fn numbers<T: std::fmt::Display>(&mut self, key: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        self.key(key);
        for (index, value) in values.iter().enumerate() {
            self.out.push(if index == 0 { '[' } else { ',' });
            self.out.push_str(&value.to_string());
        }
        self.out.push(']');
    }

    /// An array member of objects, left out when it is empty; `fill` writes the members of each. Always on one line.
    pub fn objects<T>(
        &mut self,
        key: &str,
        values: impl Iterator<Item = T>,
        fill: impl Fn(&mut Object<'_>, T),
    ) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        self.key(key);
        for (index, value) in values.enumerate() {
            self.out.push(if index == 0 { '[' } else { ',' });
            let mut inner = Object::open(self.out, None);
            fill(&mut inner, value);
            inner.close();
        }
        self.out.push(']');
    }

    /// A null member.
    pub fn null(&mut self, key: &str) {
        self.key(key);
        self.out.push_str("null");
    }

    /// An object member; `fill` writes its members.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut inner = Object::open(self.out, self.indent.map(|indent| indent + 1));
        fill(&mut inner);
        inner.close();
    }

    /// An object member of strings.
    pub fn strings<'b>(
        &mut self,
        key: &str,
        members: impl IntoIterator<Item = (&'b str, &'b str)>,
    ) {
        self.object(key, |inner| {
            for (key, value) in members {
                inner.string(key, value);
            }
        });
    }

    /// Ends the object.
    pub fn close(self) {
        if let (Some(indent), false) = (self.indent, self.empty) {
            line(self.out, indent);
        }
        self.out.push('}');
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        if let Some(indent) = self.indent {
            line(self.out, indent + 1);
        }
        push_string(self.out, key);
        self.out
            .push_str(if self.indent.is_some() { ": " } else { ":" });
    }
}

fn line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", indent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let cases = [
            ("plain é 日", "\"plain é 日\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("<a href=\"x\">&", r#""\u003ca href=\"x\"\u003e\u0026""#),
            (
                "\n\r\t\u{8}\u{c}\0\u{1b}\u{7f}",
                "\"\\n\\r\\t\\b\\f\\u0000\\u001b\u{7f}\"",
            ),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
        ];
        for (text, expected) in cases {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn objects_on_one_line_and_indented() {
        for (indent, expected) in [
            (
                None,
                r#"{"id":"a","pid":3,"annotations":{"x":"y"},"none":{}}"#,
            ),
            (
                Some(0),
                "{\n  \"id\": \"a\",\n  \"pid\": 3,\n  \"annotations\": {\n    \"x\": \"y\"\n  },\n  \"none\": {}\n}",
            ),
        ] {
            let mut out = String::new();
            let mut object = Object::open(&mut out, indent);
            object.string("id", "a");
            object.number("pid", 3);
            object.strings("annotations", [("x", "y")]);
            object.strings("none", []);
            object.close();
            assert_eq!(out, expected);
        }
    }
}
