//! The formula language: `+ - * / ^`, parentheses, numbers, names, functions.
//!
//! Precedence as in mathematics and Python: `^` binds tighter than a sign on its left and groups to the right, so `-x^2` is
//! `-(x^2)` and `x^-a` is allowed; then `* /`, then `+ -`. Names may hold letters, digits, `_` and end in `'`.
//! Functions: `exp`, `ln` (also `log`), `log10`, `log2`, `sqrt`, `pow(x, y)`, `sigmoid` (also `logistic`), `tanh`, `softplus`,
//! `abs`, and of two or more arguments `min`, `max`, `sum`, `lse` (the logarithm of a sum of exponentials).

use super::error::LawError;
use super::expression::{Binary, Expression, Unary};

/// Operations nested deeper than this are refused: the walk over the tree is recursive.
const DEPTH_MAX: usize = 100;

/// Characters of a formula.
const LENGTH_MAX: usize = 20_000;

const FUNCTIONS: [&str; 16] = [
    "exp", "ln", "log", "log10", "log2", "sqrt", "pow", "sigmoid", "logistic", "tanh", "softplus",
    "abs", "min", "max", "sum", "lse",
];

/// What names may mean. Columns and parameters in the law's order.
pub(crate) struct Names<'a> {
    pub(crate) columns: &'a [&'a str],
    pub(crate) parameters: &'a [&'a str],
    /// Parts that have a name.
    pub(crate) defined: Vec<(String, Expression)>,
}

/// Parses one formula; `field` names it in errors.
pub(crate) fn parse(field: &str, formula: &str, names: &Names<'_>) -> Result<Expression, LawError> {
    let mut parser = Parser {
        field,
        formula,
        characters: formula.chars().collect(),
        place: 0,
        depth: 0,
        names,
    };
    if parser.characters.len() > LENGTH_MAX {
        return Err(parser.fail(
            0,
            "the formula is longer than 20000 characters",
            "shorten it",
        ));
    }
    let expression = parser.sum()?;
    parser.space();
    match parser.peek() {
        None => Ok(expression),
        Some(')') => Err(parser.fail(
            parser.place,
            "a `)` that nothing opened",
            "remove it, or open it before",
        )),
        Some(found) => Err(parser.fail(
            parser.place,
            &format!("`{found}` where an operator or the end should be"),
            "write `*` for a product and `^` for a power",
        )),
    }
}

/// The most similar of some names, if it is similar at all.
pub(crate) fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    all.map(|one| (distance(&lower, &one.to_lowercase()), one))
        .filter(|(distance, one)| *distance <= one.len().max(name.len()).div_ceil(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}

/// Edits (insert, delete, replace) between two words.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (index, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (place, right) in two.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}

struct Parser<'a> {
    field: &'a str,
    formula: &'a str,
    characters: Vec<char>,
    place: usize,
    depth: usize,
    names: &'a Names<'a>,
}

impl Parser<'_> {
    fn fail(&self, place: usize, message: &str, remedy: &str) -> LawError {
        // A caret under a formula of several lines or of great length helps nobody: show the surroundings.
        let from = place.saturating_sub(60);
        let shown: String = self.characters[from.min(self.characters.len())..]
            .iter()
            .take(100)
            .map(|one| if one.is_whitespace() { ' ' } else { *one })
            .collect();
        LawError::BadFormula {
            field: self.field.to_owned(),
            column: place + 1,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            formula: if self.formula.is_empty() {
                "(empty)".to_owned()
            } else {
                shown
            },
            caret: format!("{}^", " ".repeat(place - from)),
        }
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.place += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.place).copied()
    }

    /// Takes the operator if it is next.
    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        self.place += usize::from(found);
        found
    }

    fn deeper<T>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, LawError>,
    ) -> Result<T, LawError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(self.place, "nested too deeply", "use fewer parentheses"));
        }
        let result = inside(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Expression, LawError> {
        let mut left = self.product()?;
        loop {
            if self.take('+') {
                left = binary(Binary::Add, left, self.product()?);
            } else if self.take('-') {
                left = binary(Binary::Subtract, left, self.product()?);
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self) -> Result<Expression, LawError> {
        let mut left = self.signed()?;
        loop {
            self.space();
            if self.peek() == Some('*') && self.characters.get(self.place + 1) == Some(&'*') {
                return Err(self.fail(
                    self.place,
                    "`**` is no operator here",
                    "write `^` for a power",
                ));
            }
            if self.take('*') {
                left = binary(Binary::Multiply, left, self.signed()?);
            } else if self.take('/') {
                left = binary(Binary::Divide, left, self.signed()?);
            } else {
                return Ok(left);
            }
        }
    }

    fn signed(&mut self) -> Result<Expression, LawError> {
        self.deeper(|parser| {
            if parser.take('-') {
                return Ok(match parser.signed()? {
                    Expression::Number(number) => Expression::Number(-number),
                    other => Expression::Unary(Unary::Negate, Box::new(other)),
                });
            }
            if parser.take('+') {
                return parser.signed();
            }
            let base = parser.atom()?;
            if parser.take('^') {
                let exponent = parser.signed()?;
                return Ok(binary(Binary::Power, base, exponent));
            }
            Ok(base)
        })
    }

    fn atom(&mut self) -> Result<Expression, LawError> {
        self.space();
        let begin = self.place;
        match self.peek() {
            None => Err(self.fail(
                begin,
                "the formula ends where a value should be",
                "complete or remove the last operator",
            )),
            Some('(') => {
                self.place += 1;
                let inside = self.sum()?;
                if self.take(')') {
                    return Ok(inside);
                }
                Err(self.fail(begin, "a `(` that nothing closes", "add a `)`"))
            }
            Some(first) if first.is_ascii_digit() || first == '.' => self.number(),
            Some(first) if first.is_alphabetic() || first == '_' => self.name(),
            Some(other) => Err(self.fail(
                begin,
                &format!("`{other}` where a value should be"),
                "a value is a number, a name, a function or a parenthesis",
            )),
        }
    }

    fn number(&mut self) -> Result<Expression, LawError> {
        let begin = self.place;
        while self
            .peek()
            .is_some_and(|one| one.is_ascii_digit() || one == '.' || one == '_')
        {
            self.place += 1;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let sign = usize::from(matches!(
                self.characters.get(self.place + 1),
                Some('+' | '-')
            ));
            if self
                .characters
                .get(self.place + 1 + sign)
                .is_some_and(char::is_ascii_digit)
            {
                self.place += 1 + sign;
                while self.peek().is_some_and(|one| one.is_ascii_digit()) {
                    self.place += 1;
                }
            }
        }
        let text: String = self.characters[begin..self.place]
            .iter()
            .filter(|one| **one != '_')
            .collect();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Expression::Number(number)),
            _ => Err(self.fail(
                begin,
                &format!("`{text}` is no number"),
                "write it as 1.5 or 2e9",
            )),
        }
    }

    fn name(&mut self) -> Result<Expression, LawError> {
        let begin = self.place;
        while self
            .peek()
            .is_some_and(|one| one.is_alphanumeric() || one == '_' || one == '\'')
        {
            self.place += 1;
        }
        let name: String = self.characters[begin..self.place].iter().collect();
        self.space();
        if self.peek() == Some('(') {
            return self.call(&name, begin);
        }
        if let Some(index) = self.names.parameters.iter().position(|one| *one == name) {
            return Ok(Expression::Parameter(index));
        }
        if let Some(index) = self.names.columns.iter().position(|one| *one == name) {
            return Ok(Expression::Column(index));
        }
        let meaning = self.names.defined.iter().find(|(one, _)| *one == name);
        if let Some((_, meaning)) = meaning {
            return Ok(meaning.clone());
        }
        let known = || {
            self.names
                .columns
                .iter()
                .chain(self.names.parameters)
                .copied()
        };
        let (message, remedy) = match nearest(&name, known()) {
            Some(nearest) => (
                format!(
                    "`{name}` is neither a column nor a parameter of the law; the nearest name is `{nearest}`"
                ),
                format!("write `{nearest}`, or declare `{name}` under columns or parameters"),
            ),
            None => (
                format!("`{name}` is neither a column nor a parameter of the law"),
                format!(
                    "declare `{name}` under columns or parameters; declared are {}",
                    known().collect::<Vec<_>>().join(", ")
                ),
            ),
        };
        Err(self.fail(begin, &message, &remedy))
    }

    fn call(&mut self, name: &str, begin: usize) -> Result<Expression, LawError> {
        if !FUNCTIONS.contains(&name) {
            let remedy = match nearest(name, FUNCTIONS.into_iter()) {
                Some(nearest) => format!("the nearest is `{nearest}`"),
                None => format!("there are {}; a product needs `*`", FUNCTIONS.join(", ")),
            };
            return Err(self.fail(begin, &format!("there is no function `{name}`"), &remedy));
        }
        let open = self.place;
        self.place += 1;
        let mut arguments = vec![self.sum()?];
        while self.take(',') {
            arguments.push(self.sum()?);
        }
        if !self.take(')') {
            return Err(self.fail(open, "a `(` that nothing closes", "add a `)`"));
        }
        let count = arguments.len();
        let wanted = match name {
            "pow" => (2, 2),
            "min" | "max" | "sum" | "lse" => (2, usize::MAX),
            _ => (1, 1),
        };
        if count < wanted.0 || count > wanted.1 {
            let message = format!("`{name}` has {count} arguments");
            let remedy = match wanted {
                (1, _) => "it takes one".to_owned(),
                (2, 2) => "it takes two".to_owned(),
                _ => "it takes two or more".to_owned(),
            };
            return Err(self.fail(begin, &message, &remedy));
        }
        let mut arguments = arguments.into_iter();
        let Some(first) = arguments.next() else {
            return Err(self.fail(begin, "no argument", "give one"));
        };
        let unary = |function| Expression::Unary(function, Box::new(first.clone()));
        let scaled = |base: f64| binary(Binary::Divide, unary(Unary::Ln), Expression::Number(base));
        let fold = |function| {
            arguments
                .clone()
                .fold(first.clone(), |left, right| binary(function, left, right))
        };
        Ok(match name {
            "exp" => unary(Unary::Exp),
            "ln" | "log" => unary(Unary::Ln),
            "log10" => scaled(std::f64::consts::LN_10),
            "log2" => scaled(std::f64::consts::LN_2),
            "sqrt" => unary(Unary::Sqrt),
            "sigmoid" | "logistic" => unary(Unary::Sigmoid),
            "tanh" => unary(Unary::Tanh),
            "softplus" => unary(Unary::Softplus),
            "abs" => unary(Unary::Abs),
            "pow" => fold(Binary::Power),
            "min" => fold(Binary::Least),
            "max" => fold(Binary::Most),
            "sum" => fold(Binary::Add),
            _ => arguments.fold(first.clone(), |left, right| {
                let gap = binary(Binary::Subtract, right, left.clone());
                binary(
                    Binary::Add,
                    left,
                    Expression::Unary(Unary::Softplus, Box::new(gap)),
                )
            }),
        })
    }
}

fn binary(function: Binary, left: Expression, right: Expression) -> Expression {
    Expression::Binary(function, Box::new(left), Box::new(right))
}
