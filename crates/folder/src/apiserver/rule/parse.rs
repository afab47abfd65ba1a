//! Reads the text of a rule.

/// The deepest nesting of a rule.
const MAX_DEPTH: usize = 64;

/// An expression.
#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Expression>),
    /// `self`, or the variable of a macro around it.
    Variable(String),
    /// `of.name`
    Field(Box<Expression>, String),
    /// `has(of.name)`
    Has(Box<Expression>, String),
    Not(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
    /// `over.macro(variable, body)`
    Macro(Macro, Box<Expression>, String, Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Int,
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Integer(i64),
    Sign(&'static str),
}

/// The signs, longer ones before those that they begin with.
const SIGNS: [&str; 15] = ["||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", "."];

/// Reads a rule; `None` if it has anything that is not known.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expression = parser.or()?;
    (parser.at == parser.tokens.len()).then_some(expression)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            end
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            tokens.push(Token::Integer(rest[..end].parse().ok()?));
            end
        } else if first == '\'' || first == '"' {
            let end = rest[1..].find(first)?;
            let inside = &rest[1..=end];
            // No rule of ours needs an escape.
            if inside.contains('\\') {
                return None;
            }
            tokens.push(Token::Text(inside.to_owned()));
            end + 2
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Option<()> {
        self.take(sign).then_some(())
    }

    fn name(&mut self) -> Option<String> {
        match self.tokens.get(self.at)? {
            Token::Name(name) => {
                let name = name.clone();
                self.at += 1;
                Some(name)
            }
            _ => None,
        }
    }

    fn or(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut left = self.and()?;
        while self.take("||") {
            left = Expression::Binary(Operator::Or, Box::new(left), Box::new(self.and()?));
        }
        self.depth -= 1;
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.relation()?;
        while self.take("&&") {
            left = Expression::Binary(Operator::And, Box::new(left), Box::new(self.relation()?));
        }
        Some(left)
    }

    fn relation(&mut self) -> Option<Expression> {
        const RELATIONS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let left = self.unary()?;
        let found = RELATIONS.iter().find(|(sign, _)| self.take(sign)).map(|(_, operator)| *operator);
        let operator = match (found, self.tokens.get(self.at)) {
            (Some(operator), _) => operator,
            (None, Some(Token::Name(name))) if name == "in" => {
                self.at += 1;
                Operator::In
            }
            _ => return Some(left),
        };
        Some(Expression::Binary(operator, Box::new(left), Box::new(self.unary()?)))
    }

    fn unary(&mut self) -> Option<Expression> {
        if self.take("!") {
            return Some(Expression::Not(Box::new(self.unary()?)));
        }
        let mut value = self.primary()?;
        while self.take(".") {
            let name = self.name()?;
            value = if self.take("(") {
                self.method(value, &name)?
            } else {
                Expression::Field(Box::new(value), name)
            };
        }
        Some(value)
    }

    fn method(&mut self, of: Expression, name: &str) -> Option<Expression> {
        let macro_ = match name {
            "all" => Some(Macro::All),
            "exists" => Some(Macro::Exists),
            "exists_one" => Some(Macro::ExistsOne),
            "filter" => Some(Macro::Filter),
            _ => None,
        };
        if let Some(macro_) = macro_ {
            let variable = self.name()?;
            self.expect(",")?;
            let body = self.or()?;
            self.expect(")")?;
            return Some(Expression::Macro(macro_, Box::new(of), variable, Box::new(body)));
        }
        let (function, takes_one) = match name {
            "size" => (Function::Size, false),
            "contains" => (Function::Contains, true),
            "startsWith" => (Function::StartsWith, true),
            "endsWith" => (Function::EndsWith, true),
            "matches" => (Function::Matches, true),
            _ => return None,
        };
        let mut arguments = vec![of];
        if takes_one {
            arguments.push(self.or()?);
        }
        self.expect(")")?;
        Some(Expression::Call(function, arguments))
    }

    fn primary(&mut self) -> Option<Expression> {
        if self.take("(") {
            let inside = self.or()?;
            self.expect(")")?;
            return Some(inside);
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                if !items.is_empty() {
                    self.expect(",")?;
                }
                items.push(self.or()?);
            }
            return Some(Expression::List(items));
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Text(text) => Some(Expression::Text(text)),
            Token::Integer(number) => Some(Expression::Integer(number)),
            Token::Sign(_) => None,
            Token::Name(name) => match name.as_str() {
                "true" => Some(Expression::Boolean(true)),
                "false" => Some(Expression::Boolean(false)),
                _ if self.take("(") => {
                    let argument = self.or()?;
                    self.expect(")")?;
                    match (name.as_str(), argument) {
                        ("has", Expression::Field(of, name)) => Some(Expression::Has(of, name)),
                        ("size", argument) => Some(Expression::Call(Function::Size, vec![argument])),
                        ("int", argument) => Some(Expression::Call(Function::Int, vec![argument])),
                        ("duration", argument) => Some(Expression::Call(Function::Duration, vec![argument])),
                        _ => None,
                    }
                }
                _ => Some(Expression::Variable(name)),
            },
        }
    }
}
