//! What a wallet counts: money in the deployment's currency, exact to its fraction, and whole points.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Config;

/// How rows call points; no currency is written in small letters.
pub const POINTS: &str = "points";
/// The most of one posting: far below what exact decimals hold.
pub const MOST: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// Money or points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// In `WALLET_CURRENCY`.
    Money,
    /// Whole.
    Points,
}

impl Unit {
    /// As the API says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Points => POINTS,
        }
    }

    /// As rows say it: a currency, or `points`.
    pub fn row(self, config: &Config) -> &str {
        match self {
            Self::Money => &config.currency,
            Self::Points => POINTS,
        }
    }

    /// What a row counts; another currency than today's is money too.
    pub fn of(row: &str) -> Self {
        if row == POINTS { Self::Points } else { Self::Money }
    }
}

/// How many digits after the point an amount of this unit (as rows say it) may have: ISO 4217, and none for
/// points.
pub fn digits(row: &str) -> u32 {
    match row {
        POINTS => 0,
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// Whether an amount has no more digits after the point than its unit.
pub fn is_exact(amount: Decimal, row: &str) -> bool {
    amount.normalize().scale() <= digits(row)
}

/// An amount as the API says it: with all digits of its unit.
pub fn text(amount: Decimal, row: &str) -> String {
    let mut amount = amount.normalize();
    amount.rescale(amount.scale().max(digits(row)));
    amount.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Decimal {
        text.parse().expect(text)
    }

    #[test]
    fn amounts_have_the_digits_of_their_unit() {
        for (amount, row, exact, told) in [
            ("12.5", "USD", true, "12.50"),
            ("12.500", "USD", true, "12.50"),
            ("0.001", "USD", false, "0.001"),
            ("0.001", "KWD", true, "0.001"),
            ("7", "JPY", true, "7"),
            ("7.5", "JPY", false, "7.5"),
            ("7", POINTS, true, "7"),
            ("7.1", POINTS, false, "7.1"),
            ("0", "USD", true, "0.00"),
        ] {
            assert_eq!(
                (is_exact(of(amount), row), text(of(amount), row).as_str()),
                (exact, told),
                "{amount}"
            );
        }
    }

    #[test]
    fn the_most_is_a_million_millions() {
        assert_eq!(MOST, of("1000000000000"));
    }
}
