//! The words that the seeded world is written with.

use chrono_tz::Tz;

pub(crate) const ZONES: &[Tz] = &[
    Tz::America__New_York,
    Tz::Europe__Berlin,
    Tz::Asia__Kolkata,
    Tz::America__Los_Angeles,
    Tz::Europe__London,
    Tz::Australia__Adelaide,
    Tz::Asia__Tokyo,
    Tz::America__Sao_Paulo,
    Tz::Asia__Kathmandu,
    Tz::UTC,
    Tz::America__St_Johns,
    Tz::Pacific__Auckland,
];

pub(crate) const GIVEN: &[&str] = &[
    "Ada",
    "Bjørn",
    "Chidi",
    "Dolores",
    "Emre",
    "Fatima",
    "Grace",
    "Hiroshi",
    "Inés",
    "Jamal",
    "Katarzyna",
    "Liam",
    "Mei",
    "Noor",
    "Olga",
    "Priya",
    "Quentin",
    "Rosa",
    "Søren",
    "Tomás",
    "Uma",
    "Víctor",
    "Wanjiru",
    "Xin",
    "Yusuf",
    "Zoë",
];

pub(crate) const FAMILY: &[&str] = &[
    "Adeyemi",
    "Brown",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hoang",
    "Ivanova",
    "Jones",
    "Kowalski",
    "Larsen",
    "Müller",
    "Nakamura",
    "O’Brien",
    "Patel",
    "Quispe",
    "Rossi",
    "Schmidt",
    "Tanaka",
    "Ueda",
    "van der Berg",
    "Wang",
    "Xu",
    "Yılmaz",
    "Zhang",
];

pub(crate) const COMPANIES: &[&str] = &[
    "Acme",
    "Borealis Foods",
    "City Library",
    "Delta & Sons",
    "École Verte",
    "Fjord Shipping",
    "Granite Bank",
    "Harbour Clinic",
];

pub(crate) const TITLES: &[&str] = &[
    "Engineer",
    "Director of Sales",
    "Nurse",
    "Teacher",
    "Founder",
    "Head of Research",
    "Baker",
    "Attorney",
];

pub(crate) const CITIES: &[(&str, &str)] = &[
    ("New York", "United States"),
    ("Berlin", "Germany"),
    ("Mumbai", "India"),
    ("São Paulo", "Brazil"),
    ("Osaka", "Japan"),
    ("Lagos", "Nigeria"),
    ("Malmö", "Sweden"),
    ("Wellington", "New Zealand"),
];

pub(crate) const GROUPS: &[&str] =
    &["Close friends", "Family", "Book club", "Tennis", "Work – Berlin", "Alumni", "Neighbours", "Choir"];

pub(crate) const MEETINGS: &[&str] = &[
    "Lunch",
    "Coffee with Ada",
    "Dentist",
    "Project review",
    "Budget call",
    "Gym",
    "Parent evening",
    "Interview",
    "Train to Malmö",
    "Concert",
    "1:1",
    "Haircut",
    "Board meeting ☕",
];

pub(crate) const DAYS_OFF: &[&str] =
    &["Holiday", "Conference", "Moving house", "Birthday of Noor", "Offsite"];

pub(crate) const SERIES: &[&str] =
    &["Weekly stand-up", "Yoga", "Choir practice", "Team retro", "Piano lesson"];

pub(crate) const CALENDARS: &[&str] = &["Family", "Work", "Sports", "School"];
