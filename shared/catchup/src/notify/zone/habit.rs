//! How times and dates are written where a zone is: no table of the application knows a user's locale.

use chrono_tz::Tz;

/// How people write times and dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Habit {
    pub(super) hours: Hours,
    pub(super) date: DateOrder,
}

/// What hours are counted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hours {
    /// `6 PM`.
    Twelve,
    /// `18:00`.
    TwentyFour,
}

/// What comes first in a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateOrder {
    /// `Nov 30`.
    Month,
    /// `30 Nov`.
    Day,
}

impl Habit {
    /// The habit of the country of a zone.
    pub(super) fn of(zone: Tz) -> Self {
        let is_in = |zones: &str| zones.split_whitespace().any(|name| name == zone.name());
        let (hours, date) = if is_in(MONTH_FIRST) {
            (Hours::Twelve, DateOrder::Month)
        } else if is_in(TWELVE_HOURS) {
            (Hours::Twelve, DateOrder::Day)
        } else {
            (Hours::TwentyFour, DateOrder::Day)
        };
        Self { hours, date }
    }
}

/// Twelve hours and the month first: the United States, their territories and former ones, the Philippines, Canada.
const MONTH_FIRST: &str = "\
    America/New_York America/Detroit America/Kentucky/Louisville America/Kentucky/Monticello \
    America/Indiana/Indianapolis America/Indiana/Vincennes America/Indiana/Winamac America/Indiana/Marengo \
    America/Indiana/Petersburg America/Indiana/Vevay America/Chicago America/Indiana/Tell_City America/Indiana/Knox \
    America/Menominee America/North_Dakota/Center America/North_Dakota/New_Salem America/North_Dakota/Beulah \
    America/Denver America/Boise America/Phoenix America/Los_Angeles America/Anchorage America/Juneau America/Sitka \
    America/Metlakatla America/Yakutat America/Nome America/Adak Pacific/Honolulu CST6CDT EST5EDT MST7MDT Navajo \
    US/Alaska US/Aleutian US/Arizona US/Central US/East-Indiana US/Eastern US/Hawaii US/Indiana-Starke US/Michigan \
    US/Mountain US/Pacific America/Indianapolis America/Knox_IN America/Louisville America/Atka America/Fort_Wayne \
    America/Shiprock Pacific/Johnston PST8PDT America/Puerto_Rico America/St_Thomas America/Virgin Pacific/Guam \
    Pacific/Pago_Pago US/Samoa Pacific/Samoa Pacific/Saipan Pacific/Midway Pacific/Wake Pacific/Chuuk \
    Pacific/Pohnpei Pacific/Kosrae Pacific/Ponape Pacific/Truk Pacific/Majuro Pacific/Kwajalein Kwajalein \
    Pacific/Palau Asia/Manila America/St_Johns America/Halifax America/Glace_Bay America/Moncton America/Goose_Bay \
    America/Blanc-Sablon America/Toronto America/Iqaluit America/Atikokan America/Winnipeg America/Resolute \
    America/Rankin_Inlet America/Regina America/Swift_Current America/Edmonton America/Cambridge_Bay America/Inuvik \
    America/Creston America/Dawson_Creek America/Fort_Nelson America/Whitehorse America/Dawson America/Vancouver \
    Canada/Atlantic Canada/Central Canada/Eastern Canada/Mountain Canada/Newfoundland Canada/Pacific \
    Canada/Saskatchewan Canada/Yukon America/Montreal America/Nipigon America/Pangnirtung America/Rainy_River \
    America/Thunder_Bay America/Yellowknife America/Coral_Harbour EST MST HST";

/// Twelve hours and the day first: Oceania, South and East Asia, the Arab countries, Africa, Mexico, Central America and
/// the Caribbean, where CLDR 48 (`timeData`) prefers twelve hours. Not where written times are of 24 hours all the same: in
/// Europe, the Maghreb and the south of South America.
const TWELVE_HOURS: &str = "\
    Australia/Lord_Howe Antarctica/Macquarie Australia/Hobart Australia/Melbourne Australia/Sydney \
    Australia/Broken_Hill Australia/Brisbane Australia/Lindeman Australia/Adelaide Australia/Darwin Australia/Perth \
    Australia/Eucla Australia/ACT Australia/LHI Australia/NSW Australia/North Australia/Queensland Australia/South \
    Australia/Tasmania Australia/Victoria Australia/West Australia/Yancowinna Australia/Canberra Australia/Currie \
    Pacific/Auckland Pacific/Chatham NZ NZ-CHAT Antarctica/South_Pole Asia/Kolkata Asia/Calcutta Asia/Karachi \
    Asia/Dhaka Asia/Dacca Asia/Thimphu Asia/Thimbu Asia/Singapore Singapore Asia/Kuala_Lumpur Asia/Kuching \
    Asia/Brunei Asia/Hong_Kong Hongkong Asia/Macau Asia/Macao Asia/Taipei ROC Asia/Seoul ROK Asia/Phnom_Penh \
    Africa/Cairo Egypt Asia/Riyadh Asia/Dubai Asia/Bahrain Asia/Qatar Asia/Kuwait Asia/Muscat Asia/Aden Asia/Amman \
    Asia/Beirut Asia/Baghdad Asia/Damascus Asia/Gaza Asia/Hebron Africa/Tripoli Libya Africa/Khartoum Africa/Juba \
    Africa/Asmara Africa/Asmera Africa/Addis_Ababa Africa/Mogadishu Africa/Accra Africa/Banjul Africa/Freetown \
    Africa/Monrovia Africa/Blantyre Africa/Lusaka Africa/Mbabane Africa/Maseru Africa/Windhoek America/Mexico_City \
    America/Cancun America/Merida America/Monterrey America/Matamoros America/Chihuahua America/Ciudad_Juarez \
    America/Ojinaga America/Mazatlan America/Bahia_Banderas America/Hermosillo America/Tijuana Mexico/BajaNorte \
    Mexico/BajaSur Mexico/General America/Ensenada America/Santa_Isabel America/Guatemala America/El_Salvador \
    America/Tegucigalpa America/Managua America/Costa_Rica America/Panama America/Havana Cuba America/Santo_Domingo \
    America/Bogota America/Caracas America/Antigua America/Barbados Atlantic/Bermuda America/Nassau \
    America/Dominica America/Grenada America/Guyana America/Jamaica Jamaica America/St_Kitts America/Cayman \
    America/St_Lucia America/Grand_Turk America/Port_of_Spain America/St_Vincent America/Tortola Pacific/Fiji \
    Pacific/Tarawa Pacific/Kanton Pacific/Kiritimati Pacific/Enderbury Pacific/Port_Moresby Pacific/Bougainville \
    Pacific/Yap Pacific/Guadalcanal Pacific/Tongatapu Pacific/Funafuti Pacific/Efate Pacific/Apia Pacific/Fakaofo";

#[cfg(test)]
mod tests {
    use chrono_tz::TZ_VARIANTS;

    use super::*;

    #[test]
    fn the_tables_name_zones_that_exist_each_once() {
        let mut names: Vec<_> =
            [MONTH_FIRST, TWELVE_HOURS].iter().flat_map(|it| it.split_whitespace()).collect();
        for name in &names {
            assert_eq!(name.parse::<Tz>().map(Tz::name), Ok(*name));
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn zones_of_one_country_have_one_habit() {
        for (prefix, expected) in [
            ("US/", Habit { hours: Hours::Twelve, date: DateOrder::Month }),
            ("Canada/", Habit { hours: Hours::Twelve, date: DateOrder::Month }),
            ("Australia/", Habit { hours: Hours::Twelve, date: DateOrder::Day }),
            ("Mexico/", Habit { hours: Hours::Twelve, date: DateOrder::Day }),
            ("Europe/", Habit { hours: Hours::TwentyFour, date: DateOrder::Day }),
            ("Brazil/", Habit { hours: Hours::TwentyFour, date: DateOrder::Day }),
            ("America/Argentina/", Habit { hours: Hours::TwentyFour, date: DateOrder::Day }),
            ("Etc/", Habit { hours: Hours::TwentyFour, date: DateOrder::Day }),
        ] {
            for zone in TZ_VARIANTS.iter().filter(|zone| zone.name().starts_with(prefix)) {
                assert_eq!(Habit::of(*zone), expected, "{zone}");
            }
        }
    }
}
