//! The places that the routing policies know: continents, countries and states, regions, and local zone groups.

use crate::core::dns::record::GeoLocation;

const CONTINENTS: [(&str, &str); 7] = [
    ("AF", "Africa"),
    ("AN", "Antarctica"),
    ("AS", "Asia"),
    ("EU", "Europe"),
    ("NA", "North America"),
    ("OC", "Oceania"),
    ("SA", "South America"),
];

/// ISO 3166-1 without BV, CX, EH and HM, which Route 53 does not find.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY \
     BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FM FO FR GA GB GD GE \
     GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP \
     KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE \
     NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL \
     SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS \
     XK YE YT ZA ZM ZW";

/// The states of the US, the District of Columbia and the territories.
const STATES: &str = "AK AL AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT NC ND NE NH NJ NM NV NY \
     OH OK OR PA PR RI SC SD TN TX UM UT VA VI VT WA WI WV WY";

/// The regions of the commercial partition, in the order in which Route 53 lists them.
pub(super) const REGIONS: [&str; 34] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Names of the countries that tests ask for. AWS has one for each; the code stands for the others.
const NAMES: [(&str, &str); 6] = [
    ("*", "Default"),
    ("DE", "Germany"),
    ("GB", "United Kingdom"),
    ("JP", "Japan"),
    ("UA", "Ukraine"),
    ("US", "United States"),
];

/// Whether Route 53 has the place.
pub(super) fn is_location(place: &GeoLocation) -> bool {
    let listed = |list: &str, code: &str| list.split(' ').any(|known| known == code);
    let parts = (&place.continent_code, &place.country_code, &place.subdivision_code);
    match parts {
        (Some(continent), None, None) => {
            CONTINENTS.iter().any(|(code, _)| *code == continent.as_str())
        }
        (None, Some(country), None) => country == "*" || listed(COUNTRIES, country),
        (None, Some(country), Some(subdivision)) => match country.as_str() {
            "US" => listed(STATES, subdivision),
            // No list of Ukraine's subdivisions is known.
            "UA" => true,
            _ => false,
        },
        _ => false,
    }
}

/// A place in the words of "Cannot find location".
pub(super) fn words(place: &GeoLocation) -> String {
    let mut words = String::new();
    if let Some(country) = &place.country_code {
        words.push_str(&format!("country = {country}"));
    }
    if let Some(continent) = &place.continent_code {
        words.push_str(&format!(" continent = {continent}"));
    }
    if let Some(subdivision) = &place.subdivision_code {
        words.push_str(&format!(" subdivision = {subdivision}"));
    }
    words
}

/// A place with its name, `country = (JP, Japan)`. Only the forms of one part are captured.
pub(super) fn named(place: &GeoLocation) -> String {
    let name = |names: &[(&str, &str)], code: &str| {
        let found = names.iter().find(|(known, _)| *known == code);
        found.map_or_else(|| code.to_owned(), |(_, name)| (*name).to_owned())
    };
    let parts = [
        ("continent", &place.continent_code, &CONTINENTS[..]),
        ("country", &place.country_code, &NAMES[..]),
        ("subdivision", &place.subdivision_code, &[]),
    ];
    let named = parts.into_iter().filter_map(|(kind, code, names)| {
        code.as_ref().map(|code| format!("{kind} = ({code}, {})", name(names, code)))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Whether the latency and geoproximity policies know a region.
pub(super) fn is_region(region: &str) -> bool {
    const OTHER_PARTITIONS: [&str; 4] =
        ["cn-north-1", "cn-northwest-1", "us-gov-east-1", "us-gov-west-1"];
    REGIONS.contains(&region) || OTHER_PARTITIONS.contains(&region)
}

/// Whether a text has the form of a local zone group, a region, a place and a number: `us-west-2-den-1`.
pub(super) fn is_zone_group(group: &str) -> bool {
    let Some((rest, number)) = group.rsplit_once('-') else { return false };
    let Some((region, place)) = rest.rsplit_once('-') else { return false };
    is_region(region)
        && place.len() == 3
        && place.bytes().all(|byte| byte.is_ascii_lowercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}
