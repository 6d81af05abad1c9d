//! Values of every kind, made from the rules that their issuers publish.

use super::Draw;

const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const SMALLS: &str = "abcdefghijklmnopqrstuvwxyz";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A value, with what must stand around it.
pub struct Value {
    pub before: String,
    pub value: String,
    pub after: String,
}

fn bare(value: String) -> Value {
    Value {
        before: String::new(),
        value,
        after: String::new(),
    }
}

fn behind(before: &str, value: String) -> Value {
    Value {
        before: before.to_owned(),
        value,
        after: String::new(),
    }
}

fn grouped(digits: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = digits;
    let mut parts = Vec::new();
    for length in groups {
        let (part, more) = rest.split_at(*length);
        parts.push(part);
        rest = more;
    }
    parts.join(separator)
}

/// Visa, Mastercard, American Express, Discover, JCB, Diners; the last digit makes the sum of Luhn a multiple of ten.
pub fn card(draw: &mut Draw) -> Value {
    let (prefix, length) = match draw.below(7) {
        0 | 1 => ("4".to_owned(), 16),
        2 => ((51 + draw.below(5)).to_string(), 16),
        3 => (draw.one(&["34", "37"]).to_owned(), 15),
        4 => ("6011".to_owned(), 16),
        5 => ((3528 + draw.below(62)).to_string(), 16),
        _ => ((2221 + draw.below(500)).to_string(), 16),
    };
    let body = format!("{prefix}{}", draw.digits(length - prefix.len() - 1));
    let check = (0..10)
        .find(|check| {
            let number = format!("{body}{check}");
            let sum: u64 = number
                .bytes()
                .rev()
                .enumerate()
                .map(|(place, byte)| {
                    let digit = u64::from(byte - b'0');
                    if place % 2 == 1 {
                        [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][digit as usize]
                    } else {
                        digit
                    }
                })
                .sum();
            sum.is_multiple_of(10)
        })
        .expect("one of ten");
    let number = format!("{body}{check}");
    let groups: &[usize] = if length == 15 {
        &[4, 6, 5]
    } else {
        &[4, 4, 4, 4]
    };
    bare(match draw.below(3) {
        0 => number,
        1 => grouped(&number, groups, " "),
        _ => grouped(&number, groups, "-"),
    })
}

/// Eight countries with their own structure of the account (SWIFT's registry); check digits by remainders of long division.
pub fn iban(draw: &mut Draw) -> Value {
    let (country, account) = match draw.below(8) {
        0 => ("DE", draw.digits(18)),
        1 => (
            "GB",
            format!("{}{}", draw.text(4, CAPITALS), draw.digits(14)),
        ),
        2 => (
            "FR",
            format!(
                "{}{}{}",
                draw.digits(10),
                draw.text(11, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
                draw.digits(2)
            ),
        ),
        3 => ("ES", draw.digits(20)),
        4 => (
            "IT",
            format!(
                "{}{}{}",
                draw.text(1, CAPITALS),
                draw.digits(10),
                draw.text(12, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            ),
        ),
        5 => (
            "NL",
            format!("{}{}", draw.text(4, CAPITALS), draw.digits(10)),
        ),
        6 => ("PL", draw.digits(24)),
        _ => ("BE", draw.digits(12)),
    };
    let spelled: String = format!("{account}{country}00")
        .chars()
        .map(|letter| letter.to_digit(36).expect("a letter or digit").to_string())
        .collect();
    let rest = spelled.chars().fold(0, |rest, digit| {
        (rest * 10 + digit.to_digit(10).expect("a digit")) % 97
    });
    let number = format!("{country}{:02}{account}", 98 - rest);
    bare(match draw.below(2) {
        0 => number,
        _ => {
            let groups: Vec<&str> = (0..number.len())
                .step_by(4)
                .map(|at| &number[at..number.len().min(at + 4)])
                .collect();
            groups.join(" ")
        }
    })
}

/// Spain, Italy (printed examples with a drawn name would need its tables: the DNI and NIE stand for letters), Britain, India,
/// Germany, France.
pub fn national_id(draw: &mut Draw) -> Value {
    match draw.below(6) {
        0 => {
            let number = draw.below(100_000_000);
            bare(format!(
                "{number:08}{}",
                &"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize..][..1]
            ))
        }
        1 => {
            let (letter, first) = draw.one(&[("X", 0), ("Y", 10_000_000), ("Z", 20_000_000)]);
            let number = draw.below(10_000_000);
            bare(format!(
                "{letter}{number:07}{}",
                &"TRWAGMYFPDXBNJZSQVHLCKE"[((number + first) % 23) as usize..][..1]
            ))
        }
        2 => loop {
            let body = draw.digits(9);
            let sum: u32 = body
                .bytes()
                .zip((2..=10).rev())
                .map(|(byte, weight)| u32::from(byte - b'0') * weight)
                .sum();
            let check = 11 - sum % 11;
            if check == 10 {
                continue;
            }
            let number = format!("{body}{}", check % 11);
            break behind(
                draw.one(&["NHS number ", "nhs no: ", "NHS "]),
                match draw.below(2) {
                    0 => number,
                    _ => grouped(&number, &[3, 3, 4], " "),
                },
            );
        },
        3 => {
            let body = format!("{}{}", 2 + draw.below(8), draw.digits(10));
            let number = (0..10)
                .map(|check| format!("{body}{check}"))
                .find(|number| verhoeff(number))
                .expect("one of ten");
            match draw.below(2) {
                0 => bare(grouped(&number, &[4, 4, 4], " ")),
                _ => behind("Aadhaar ", number),
            }
        }
        4 => {
            // one digit twice, the other eight once: ten places over nine digits
            let mut digits: Vec<u8> = (0..10).collect();
            for place in (1..10).rev() {
                digits.swap(place, draw.below(place as u64 + 1) as usize);
            }
            digits[9] = digits[1];
            if digits[0] == 0 {
                digits.swap(0, 2);
            }
            let product = digits.iter().fold(10_u32, |product, digit| {
                let sum = (product + u32::from(*digit)) % 10;
                (if sum == 0 { 10 } else { sum }) * 2 % 11
            });
            let check = (11 - product) % 10;
            let number: String = digits
                .iter()
                .map(u8::to_string)
                .chain([check.to_string()])
                .collect();
            match draw.below(2) {
                0 => behind("Steuer-ID ", number),
                _ => bare(grouped(&number, &[2, 3, 3, 3], " ")),
            }
        }
        _ => {
            let body = format!(
                "{}{:02}{:02}{:02}{:03}{:03}",
                1 + draw.below(2),
                draw.below(100),
                1 + draw.below(12),
                1 + draw.below(95),
                draw.below(990),
                1 + draw.below(999)
            );
            let number = format!(
                "{body}{:02}",
                97 - body.parse::<u64>().expect("digits") % 97
            );
            match draw.below(2) {
                0 => behind("n° de sécu ", number),
                _ => bare(grouped(&number, &[1, 2, 2, 2, 3, 3, 2], " ")),
            }
        }
    }
}

/// Verhoeff by the dihedral group itself instead of its table.
fn verhoeff(number: &str) -> bool {
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let permuted = |digit: u8, times: usize| {
        (0..times).fold(digit, |digit, _| {
            [1, 5, 7, 6, 2, 8, 3, 0, 9, 4][digit as usize]
        })
    };
    number
        .bytes()
        .rev()
        .enumerate()
        .fold(0, |check, (place, byte)| {
            product(check, permuted(byte - b'0', place % 8))
        })
        == 0
}

const FIRST: &[&str] = &[
    "Aisha", "Björn", "Chen", "Diego", "Elena", "Farid", "Grace", "Hiroshi", "Ingrid", "Jamal",
    "Keiko", "Lars", "Noor", "Olu", "Priya", "Zoë",
];
const LAST: &[&str] = &[
    "Abebe",
    "Brown",
    "Castro",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ivanova",
    "Johansson",
    "Kim",
    "McDonald",
    "Nguyen",
    "O'Brien",
    "Silva",
    "Tanaka",
];

pub fn email(draw: &mut Draw) -> Value {
    let first = draw.text(6, SMALLS);
    let last = draw.text(8, SMALLS);
    let local = match draw.below(5) {
        0 => format!("{first}.{last}"),
        1 => format!("{first}{}", draw.digits(3)),
        2 => format!("{first}_{last}+{}", draw.text(4, SMALLS)),
        3 => format!("{}-{last}", draw.text(1, CAPITALS)),
        _ => last.clone(),
    };
    let host = draw.one(&[
        "example.com",
        "mail.example.org",
        "uni-example.ac.uk",
        "corp.example.net",
        "EXAMPLE.IO",
        "xn--bcher-kva.example",
    ]);
    bare(format!("{local}@{host}"))
}

/// Public and private ones, the first octet large enough to be no version; documentation prefixes of IPv6.
pub fn ip(draw: &mut Draw) -> Value {
    bare(match draw.below(5) {
        0 => format!(
            "10.{}.{}.{}",
            32 + draw.below(200),
            draw.below(256),
            1 + draw.below(254)
        ),
        1 => format!("192.168.{}.{}", draw.below(256), 1 + draw.below(254)),
        2 => format!(
            "2001:db8:{}::{}",
            draw.text(4, "123456789abcdef"),
            draw.text(4, "123456789abcdef")
        ),
        _ => format!(
            "{}.{}.{}.{}",
            128 + draw.below(84),
            draw.below(256),
            draw.below(256),
            1 + draw.below(254)
        ),
    })
}

pub fn mac(draw: &mut Draw) -> Value {
    let hex = draw.one(&["0123456789abcdef", "0123456789ABCDEF"]);
    let pairs: Vec<String> = (0..6).map(|_| draw.text(2, hex)).collect();
    let mut pairs = pairs;
    pairs[5] = if hex.contains('a') {
        "e7".into()
    } else {
        "E7".into()
    };
    bare(match draw.below(3) {
        0 => pairs.join("-"),
        _ => pairs.join(":"),
    })
}

pub fn jwt(draw: &mut Draw) -> Value {
    let header = draw.one(&[
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ",
        "eyJhbGciOiJFUzI1NiJ9",
    ]);
    let (body, signature) = (40 + draw.below(80) as usize, 43 + draw.below(300) as usize);
    bare(format!(
        "{header}.eyJ{}.{}",
        draw.text(body, URL),
        draw.text(signature, LETTERS)
    ))
}

pub fn api_key(draw: &mut Draw) -> Value {
    let (prefix, length, alphabet) = draw.one(&[
        ("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        ("ghp_", 36, LETTERS),
        ("github_pat_", 82, LETTERS),
        ("glpat-", 20, LETTERS),
        ("xoxb-", 48, LETTERS),
        ("sk_live_", 24, LETTERS),
        ("sk-ant-api03-", 60, LETTERS),
        ("sk-proj-", 48, LETTERS),
        ("AIza", 35, LETTERS),
        ("hf_", 34, LETTERS),
        ("npm_", 36, LETTERS),
        ("dop_v1_", 64, "0123456789abcdef"),
    ]);
    bare(format!("{prefix}{}", draw.text(length, alphabet)))
}

pub fn url_credentials(draw: &mut Draw) -> Value {
    let scheme = draw.one(&["postgres", "mongodb+srv", "https", "amqp", "redis", "ftp"]);
    Value {
        before: format!("{scheme}://"),
        value: format!("{}:{}", draw.text(6, SMALLS), draw.text(12, LETTERS)),
        after: format!("@{}.example:5432/db", draw.text(5, SMALLS)),
    }
}

pub fn private_key(draw: &mut Draw) -> Value {
    let name = draw.one(&[
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
    ]);
    let line = draw.one(&["\n", "\\n"]);
    let lines: Vec<String> = (0..4 + draw.below(20))
        .map(|_| draw.text(64, LETTERS))
        .collect();
    bare(format!(
        "-----BEGIN {name}-----{line}{}{line}-----END {name}-----",
        lines.join(line)
    ))
}

pub fn phone(draw: &mut Draw) -> Value {
    let area = format!("{}{}", 2 + draw.below(8), draw.digits(2));
    bare(match draw.below(6) {
        0 => format!("+1 {area} 555 01{}", draw.digits(2)),
        1 => format!("({area}) 555-01{}", draw.digits(2)),
        2 => format!("{area}.555.01{}", draw.digits(2)),
        3 => format!("+44 20 7946 0{}", draw.digits(3)),
        4 => format!("+4930231{}", draw.digits(5)),
        _ => format!("{area}55501{}", draw.digits(2)),
    })
}

pub fn ssn(draw: &mut Draw) -> Value {
    let area = loop {
        let area = 1 + draw.below(898);
        if area != 666 {
            break area;
        }
    };
    let (group, serial) = (1 + draw.below(99), 1 + draw.below(9_999));
    let separator = draw.one(&["-", "-", " ", ""]);
    bare(format!(
        "{area:03}{separator}{group:02}{separator}{serial:04}"
    ))
}

pub fn birth_date(draw: &mut Draw) -> Value {
    let (year, month, day) = (
        1920 + draw.below(90),
        1 + draw.below(12),
        1 + draw.below(28),
    );
    let name = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ][month as usize - 1];
    bare(match draw.below(6) {
        0 => format!("{year}-{month:02}-{day:02}"),
        1 => format!("{month:02}/{day:02}/{year}"),
        2 => format!("{day}.{month}.{year}"),
        3 => format!("{day} {name} {year}"),
        4 => format!("{name} {day}, {year}"),
        _ => format!("{} {day} {year}", &name[..3]),
    })
}

pub fn mrn(draw: &mut Draw) -> Value {
    bare(match draw.below(4) {
        0 => draw.digits(8),
        1 => draw.digits(6),
        2 => format!("{}{}", draw.text(1, CAPITALS), draw.digits(7)),
        _ => format!("{}-{}-{}", draw.digits(2), draw.digits(2), draw.digits(4)),
    })
}

pub fn secret(draw: &mut Draw) -> Value {
    bare(match draw.below(4) {
        0 => draw.text(12, LETTERS),
        1 => format!(
            "{}{}!",
            draw.one(&["Summer", "Welcome", "Tr0ub4dor", "letmein"]),
            draw.digits(4)
        ),
        2 => draw.text(32, "0123456789abcdef"),
        _ => format!(
            "{}_{}#{}",
            draw.text(5, SMALLS),
            draw.digits(2),
            draw.text(5, CAPITALS)
        ),
    })
}

pub fn name(draw: &mut Draw) -> Value {
    let (first, last) = (draw.one(FIRST), draw.one(LAST));
    bare(match draw.below(4) {
        0 => format!("{first} {} {last}", draw.text(1, CAPITALS) + "."),
        _ => format!("{first} {last}"),
    })
}
