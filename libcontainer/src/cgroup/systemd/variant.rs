//! GVariant's text form, as far as unit properties need it (gvariant-text-format): `true`, `'text'`, `30`, `uint64 30`, `@t 30`, `1.5`,
//! `['a', 'b']`, `@as []`. A number without a type is an int32, one with a point or an exponent a double. Pure; never panics.

use super::bus::Value;

/// The value that `text` says. Errors: what is wrong, to be put behind the text.
pub fn parse(text: &str) -> Result<Value, &'static str> {
    let wrong = "is not a value in GVariant text form";
    if text.contains('\0') {
        return Err("holds a NUL, which no value can");
    }
    let text = text.trim();
    let (kind, rest) = split_type(text);
    let value = match kind {
        "" => untyped(rest),
        "s" => quoted(rest).and_then(only).map(Value::Text),
        "b" => boolean(rest),
        "as" => texts(rest),
        kind => number(kind, rest),
    };
    value.ok_or(wrong)
}

/// The type that a text begins with, as a signature; empty without one.
fn split_type(text: &str) -> (&str, &str) {
    const WORDS: &[(&str, &str)] = &[
        ("boolean", "b"),
        ("byte", "y"),
        ("int16", "n"),
        ("uint16", "q"),
        ("int32", "i"),
        ("uint32", "u"),
        ("int64", "x"),
        ("uint64", "t"),
        ("double", "d"),
        ("string", "s"),
    ];
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match first.strip_prefix('@') {
        Some(signature) => (signature, rest.trim_start()),
        None => WORDS
            .iter()
            .find(|(word, _)| *word == first)
            .map_or(("", text), |(_, signature)| (*signature, rest.trim_start())),
    }
}

fn untyped(text: &str) -> Option<Value> {
    match text.as_bytes().first()? {
        b'\'' | b'"' => quoted(text).and_then(only).map(Value::Text),
        b'[' => texts(text).filter(|value| *value != Value::Texts(Vec::new())),
        b't' | b'f' => boolean(text),
        _ if is_double(text) => number("d", text),
        _ => number("i", text),
    }
}

fn boolean(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Bool)
}

fn is_double(text: &str) -> bool {
    !text.contains("0x") && text.contains(['.', 'e', 'E'])
}

fn number(kind: &str, text: &str) -> Option<Value> {
    if kind == "d" {
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        return text.parse().ok().filter(|_| plain).map(Value::F64);
    }
    let whole = whole(text)?;
    match kind {
        "y" => whole.try_into().ok().map(Value::Byte),
        "n" => whole.try_into().ok().map(Value::I16),
        "q" => whole.try_into().ok().map(Value::U16),
        "i" => whole.try_into().ok().map(Value::I32),
        "u" => whole.try_into().ok().map(Value::U32),
        "x" => whole.try_into().ok().map(Value::I64),
        "t" => whole.try_into().ok().map(Value::U64),
        _ => None,
    }
}

/// Decimal, `0x` hexadecimal or `0` octal, as in C.
fn whole(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    let value = i128::from_str_radix(digits, radix).ok().filter(|_| valid)?;
    Some(if negative { -value } else { value })
}

fn texts(text: &str) -> Option<Value> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut texts = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            return only((Value::Texts(texts), after));
        }
        if !texts.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
        let (one, after) = quoted(rest)?;
        texts.push(one);
        rest = after.trim_start();
    }
}

/// The value, if nothing comes behind it.
fn only<T>((value, rest): (T, &str)) -> Option<T> {
    rest.trim().is_empty().then_some(value)
}

/// A text in single or double quotes, and what comes behind.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut letters = text.char_indices();
    let quote = letters.next().map(|(_, quote)| quote)?;
    if !matches!(quote, '\'' | '"') {
        return None;
    }
    let mut value = String::new();
    while let Some((place, letter)) = letters.next() {
        if letter == quote {
            return Some((value, &text[place + 1..]));
        }
        if letter != '\\' {
            value.push(letter);
            continue;
        }
        value.push(match letters.next()?.1 {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'u' => code_point(&mut letters, 4)?,
            'U' => code_point(&mut letters, 8)?,
            other if other.is_ascii_alphanumeric() => return None,
            other => other,
        });
    }
    None
}

fn code_point(letters: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let mut value = 0;
    for _ in 0..digits {
        value = value * 16 + letters.next()?.1.to_digit(16)?;
    }
    char::from_u32(value).filter(|letter| *letter != '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_their_text_form() {
        let table = [
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("@b true", Value::Bool(true)),
            ("30", Value::I32(30)),
            (" -30 ", Value::I32(-30)),
            ("0x1f", Value::I32(31)),
            ("010", Value::I32(8)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("@t 5", Value::U64(5)),
            ("byte 0xff", Value::Byte(255)),
            ("int16 -1", Value::I16(-1)),
            ("uint16 1", Value::U16(1)),
            ("uint32 1", Value::U32(1)),
            ("int64 -1", Value::I64(-1)),
            ("1.5", Value::F64(1.5)),
            ("1e3", Value::F64(1000.0)),
            ("double 2", Value::F64(2.0)),
            ("'a b'", "a b".into()),
            ("\"it's\"", "it's".into()),
            (r"'\'\\\n\u00fc\U0001f600'", "'\\\nü😀".into()),
            ("string 'x'", "x".into()),
            ("['a', \"b\" ]", Value::Texts(vec!["a".into(), "b".into()])),
            ("@as []", Value::Texts(vec![])),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let texts = [
            "",
            " ",
            "x",
            "'",
            "'a",
            "'a' b",
            "[]",
            "['a'",
            "['a',]",
            "['a' 'b']",
            "[1]",
            "2147483648",
            "byte 256",
            "uint64 -1",
            "--1",
            "0x",
            "1.2.3",
            "nan",
            "inf",
            "@",
            "@zz 1",
            "uint64",
            "'\\q'",
            "'\\u12'",
            "'\\u0000'",
            "a\0",
            "truex",
            "{}",
            "<1>",
            "i 5",
            "+5x",
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let parts = [
            "'", "\"", "\\", "u", "[", "]", ",", "@", "as", "uint64", " ", "0", "-", "0x", "e",
            "ü", ".", "U0001",
        ];
        let mut seed = 99_u64;
        for _ in 0..100_000 {
            let mut text = String::new();
            for _ in 0..7 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[usize::try_from(seed >> 33).unwrap() % parts.len()]);
            }
            let _ = parse(&text);
        }
    }
}
