//! People who might exist: names of eight countries, an address, a number of the country's own form. The
//! same seed gives the same people.

use chrono::{DateTime, TimeDelta, Utc};
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;
use uuid::{Builder, Uuid};

/// As many people as one seed gives without repeating itself.
pub const MOST: u64 = 10_000_000;
/// 2024-01-01; people joined within two years of it.
const EPOCH: i64 = 1_704_067_200;
const SECONDS: u64 = 2 * 365 * 24 * 3600;

/// A country: its language here, a number's beginning (seven digits follow), streets and towns, given and family
/// names.
struct Country {
    language: &'static str,
    prefix: &'static str,
    streets: [&'static str; 4],
    towns: [&'static str; 4],
    women: [&'static str; 8],
    men: [&'static str; 8],
    families: [&'static str; 12],
}

#[rustfmt::skip]
const COUNTRIES: [Country; 8] = [
    Country { language: "en", prefix: "+25471",
        streets: ["Moi Avenue", "Kenyatta Road", "Ngong Road", "Uhuru Street"],
        towns: ["Nairobi", "Kisumu", "Nakuru", "Eldoret"],
        women: ["Wanjiru", "Akinyi", "Achieng", "Njeri", "Wambui", "Chebet", "Makena", "Halima"],
        men: ["Otieno", "Kamau", "Kiprop", "Mwangi", "Juma", "Baraka", "Omondi", "Kiptoo"],
        families: ["Odhiambo", "Kariuki", "Njoroge", "Cheruiyot", "Mutua", "Wekesa", "Ouma", "Kimani", "Rotich", "Maina", "Barasa", "Ndungu"] },
    Country { language: "en", prefix: "+25571",
        streets: ["Nyerere Road", "Uhuru Street", "Sokoine Drive", "Mkwawa Road"],
        towns: ["Dodoma", "Mwanza", "Arusha", "Moshi"],
        women: ["Neema", "Asha", "Zawadi", "Rehema", "Fatuma", "Upendo", "Mariamu", "Salma"],
        men: ["Hamisi", "Rashidi", "Emanueli", "Bakari", "Salim", "Musa", "Idrisa", "Faraji"],
        families: ["Mushi", "Massawe", "Kimaro", "Mwakyusa", "Lyimo", "Shayo", "Mrema", "Nyerere", "Mollel", "Sanga", "Temba", "Komba"] },
    Country { language: "en", prefix: "+234803",
        streets: ["Awolowo Road", "Broad Street", "Ahmadu Bello Way", "Market Road"],
        towns: ["Lagos", "Ibadan", "Kano", "Enugu"],
        women: ["Ngozi", "Chioma", "Folake", "Amina", "Yetunde", "Ifeoma", "Zainab", "Adaeze"],
        men: ["Emeka", "Tunde", "Chinedu", "Ibrahim", "Olumide", "Obinna", "Sani", "Kelechi"],
        families: ["Okafor", "Adeyemi", "Balogun", "Eze", "Abubakar", "Okonkwo", "Ogunleye", "Nwosu", "Bello", "Adebayo", "Uche", "Danjuma"] },
    Country { language: "en", prefix: "+91987",
        streets: ["Gandhi Road", "Station Road", "Nehru Street", "Temple Lane"],
        towns: ["Pune", "Kochi", "Jaipur", "Lucknow"],
        women: ["Priya", "Ananya", "Kavya", "Lakshmi", "Meera", "Divya", "Nisha", "Sunita"],
        men: ["Arjun", "Rohan", "Vikram", "Rahul", "Aditya", "Sanjay", "Karthik", "Imran"],
        families: ["Sharma", "Patel", "Iyer", "Reddy", "Nair", "Gupta", "Khan", "Das", "Mehta", "Joshi", "Singh", "Bose"] },
    Country { language: "en", prefix: "+44711",
        streets: ["High Street", "Station Road", "Church Lane", "Victoria Road"],
        towns: ["Leeds", "Bristol", "Cardiff", "Glasgow"],
        women: ["Olivia", "Amelia", "Grace", "Freya", "Niamh", "Zoë", "Chloë", "Imogen"],
        men: ["Oliver", "Harry", "George", "Callum", "Rhys", "Alfie", "Owen", "Lewis"],
        families: ["Smith", "Jones", "Taylor", "Evans", "Walker", "O'Brien", "Campbell", "Wright", "Hughes", "Ahmed", "Clarke", "Lloyd"] },
    Country { language: "en", prefix: "+491512",
        streets: ["Bahnhofstraße", "Goethestraße", "Am Markt", "Gartenweg"],
        towns: ["Köln", "München", "Lübeck", "Dresden"],
        women: ["Käthe", "Ursula", "Anneliese", "Sophie", "Lena", "Ayşe", "Greta", "Klara"],
        men: ["Jürgen", "Björn", "Lukas", "Felix", "Mehmet", "Sören", "Matthias", "Karl"],
        families: ["Müller", "Schäfer", "Schröder", "Weiß", "Becker", "Yılmaz", "Krüger", "Vogel", "Köhler", "Braun", "Jäger", "Lange"] },
    Country { language: "fr", prefix: "+3361",
        streets: ["rue de l'Église", "avenue Foch", "rue Pasteur", "place du Marché"],
        towns: ["Lyon", "Orléans", "Nîmes", "Saint-Étienne"],
        women: ["Zoé", "Chloé", "Inès", "Anaïs", "Léa", "Maëlys", "Hélène", "Aïcha"],
        men: ["Théo", "Léo", "Gaël", "Rémi", "Noël", "Mathéo", "Étienne", "François"],
        families: ["Lefèvre", "Dubois", "Moreau", "Côté", "Garnier", "Benoît", "Bélanger", "Roux", "Diallo", "Traoré", "Hébert", "Gauthier"] },
    Country { language: "en", prefix: "+551198",
        streets: ["Rua das Flores", "Avenida Brasil", "Rua São João", "Travessa do Sol"],
        towns: ["São Paulo", "Belém", "Goiânia", "Maceió"],
        women: ["Júlia", "Letícia", "Beatriz", "Camila", "Luísa", "Antônia", "Vitória", "Marina"],
        men: ["João", "Antônio", "Caio", "Thiago", "Mateus", "Vinícius", "Otávio", "Luís"],
        families: ["Gonçalves", "Araújo", "Simões", "Magalhães", "Souza", "Oliveira", "Corrêa", "Pereira", "Moraes", "Lima", "Assunção", "Rocha"] },
];

/// Somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedPerson {
    /// Time-ordered, by when they joined.
    pub user_id: Uuid,
    /// Their name, folded, and a number of their own.
    pub username: String,
    /// As [`Username`](crate::user::Username) makes it.
    pub skeleton: String,
    /// Given name.
    pub first_name: &'static str,
    /// Family name.
    pub last_name: &'static str,
    /// `female` or `male`.
    pub gender: &'static str,
    /// Of messages.
    pub language: &'static str,
    /// Proved, as the phone number is.
    pub email: Option<String>,
    /// E.164.
    pub phone_number: Option<String>,
    /// `member`, ...
    pub role: &'static str,
    /// Eight letters and digits of Crockford's base 32.
    pub referral_code: String,
    /// When they joined.
    pub created_at: DateTime<Utc>,
    country: usize,
}

impl SeedPerson {
    /// Where they live.
    pub(super) fn home(&self, dice: &mut Dice) -> String {
        let country = &COUNTRIES[self.country];
        let (street, town) = (dice.one(&country.streets), dice.one(&country.towns));
        format!("{street} {}, {town}", 1 + dice.below(120))
    }

    /// Somebody of their family, and a number.
    pub(super) fn relative(&self, dice: &mut Dice) -> (String, String) {
        let country = &COUNTRIES[self.country];
        let given = if dice.below(2) == 0 { dice.one(&country.women) } else { dice.one(&country.men) };
        let number = format!("{}{:07}", country.prefix, dice.below(MOST));
        (format!("{given} {}", self.last_name), number)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): reproducible, and not for secrets.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    pub(super) fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or_default()]
    }
}

/// The `n`th person of a seed.
pub fn person(seed: u64, n: u64) -> SeedPerson {
    let mut dice = Dice(Dice(seed).roll() ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93));
    // both permute their range, so that no two people of a seed share a number or a code
    let number = (n.wrapping_mul(7_368_787) + Dice(seed).below(MOST)) % MOST;
    let code = n.wrapping_mul(0x5_851f_42d5).wrapping_add(Dice(seed).roll()) & 0xff_ffff_ffff;
    let of = usize::try_from(dice.below(8)).unwrap_or_default();
    let country = &COUNTRIES[of];
    let (gender, given) = match dice.below(2) {
        0 => ("female", &country.women),
        _ => ("male", &country.men),
    };
    let (first_name, last_name) = (dice.one(given), dice.one(&country.families));
    let (first, last) = (fold(first_name), fold(last_name));
    let username = format!("{first}.{last}.{number}");
    let host = dice.one(&["example.org", "example.com", "example.net", "mail.example.org"]);
    let both = dice.below(10);
    let created_at = DateTime::from_timestamp(EPOCH, 0).unwrap_or_default()
        + TimeDelta::seconds(i64::try_from(dice.below(SECONDS)).unwrap_or_default());
    let mut tail = [0; 10];
    tail[..8].copy_from_slice(&dice.roll().to_be_bytes());
    tail[8..].copy_from_slice(&dice.roll().to_be_bytes()[..2]);
    let millis = u64::try_from(created_at.timestamp_millis()).unwrap_or_default();
    SeedPerson {
        user_id: Builder::from_unix_timestamp_millis(millis, &tail).into_uuid(),
        skeleton: skeleton(&username).collect::<String>().to_lowercase(),
        // a tenth has no number, two tenths no address
        email: (both > 1).then(|| format!("{first}.{last}.{number}@{host}")),
        phone_number: (both != 2).then(|| format!("{}{number:07}", country.prefix)),
        username,
        first_name,
        last_name,
        gender,
        language: country.language,
        role: match dice.below(1_000) {
            0 => "admin",
            1..10 => "dp_academics",
            10..30 => "hod",
            30..100 => "trainer",
            100..400 => "trainee",
            _ => "member",
        },
        referral_code: letters(code),
        created_at,
        country: of,
    }
}

/// ASCII letters of a name, in lower case.
fn fold(name: &str) -> String {
    let plain = name.replace('ß', "ss").replace('ı', "i");
    plain.nfd().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase()
}

/// Forty bits in Crockford's base 32.
fn letters(code: u64) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    (0..8).rev().map(|place| char::from(LETTERS[usize::from((code >> (5 * place)) as u8 & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::user::{Identifier, Username};

    #[test]
    fn a_seed_gives_the_same_people_and_another_gives_others() {
        assert_eq!(person(7, 3), person(7, 3));
        assert_ne!(person(7, 3).username, person(8, 3).username);
        assert_ne!(person(7, 3).username, person(7, 4).username);
    }

    #[test]
    fn everybody_is_as_registration_would_make_them() {
        for n in 0..2_000 {
            let one = person(42, n);
            let name = Username::parse(&one.username).expect(&one.username);
            assert_eq!((name.as_str(), name.skeleton()), (one.username.as_str(), one.skeleton.as_str()));
            for text in one.email.iter().chain(&one.phone_number) {
                assert_eq!(Identifier::parse(text, None).expect(text).as_str(), text);
            }
            assert!(one.email.is_some() || one.phone_number.is_some());
        }
    }

    #[test]
    fn nobody_shares_anything_that_is_ones_own() {
        let mut seen = HashSet::new();
        for n in 0..50_000 {
            let one = person(1, n);
            let own = [Some(one.skeleton), one.email, one.phone_number, Some(one.referral_code)];
            for text in own.into_iter().flatten().chain([one.user_id.to_string()]) {
                assert!(seen.insert(text.clone()), "{text}");
            }
        }
    }
}
