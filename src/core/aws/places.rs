//! The places of the geolocation, latency and geoproximity policies, as far as they are known without asking AWS.

use arcstr::ArcStr;

use crate::core::dns::record::GeoLocation;

const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// ISO 3166-1 alpha-2, and XK. Route 53 does not find BV, CX, EH and HM, which are left out.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ \
    BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ \
    DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FM FO FR \
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY \
    HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP \
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY \
    MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ \
    NA NC NE NF NG NI NL NO NP NR NU NZ OM \
    PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW \
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ \
    TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ \
    UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// The states of the US, the District of Columbia and the territories.
const STATES: &str = "\
    AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT \
    NC ND NE NH NJ NM NV NY OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY \
    AS GU MP PR UM VI";

/// The regions of all partitions that were known when this was written; AWS adds to them.
const REGIONS: &str = "\
    af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 \
    ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1 \
    cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 \
    il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 \
    us-west-2";

fn lists(list: &str, code: &str) -> bool {
    list.split(' ').any(|known| known == code)
}

/// Checks a place that has either a continent, or a country with or without a subdivision.
///
/// # Errors
/// The property at fault, the rule and the remedy.
pub fn check_location(place: &GeoLocation) -> Result<(), String> {
    if let Some(continent) = &place.continent_code
        && !CONTINENTS.contains(&continent.as_str())
    {
        return Err(format!(
            "aws/geolocation-continent-code is {continent:?}: write one of {}",
            CONTINENTS.join(", ")
        ));
    }
    let Some(country) = &place.country_code else { return Ok(()) };
    if country != "*" && !lists(COUNTRIES, country) {
        return Err(format!(
            "aws/geolocation-country-code is {country:?}, which Route 53 does not find: write the two letters of ISO 3166-1, or * \
             for all places without a record set of their own"
        ));
    }
    let Some(subdivision) = &place.subdivision_code else { return Ok(()) };
    match country.as_str() {
        "US" if lists(STATES, subdivision) => Ok(()),
        "US" => Err(format!(
            "aws/geolocation-subdivision-code is {subdivision:?}: write the two letters of a state of the US"
        )),
        // Route 53 has subdivisions of Ukraine, and no list of them is public.
        "UA" if (1..=3).contains(&subdivision.len()) => Ok(()),
        "UA" => Err(format!(
            "aws/geolocation-subdivision-code is {subdivision:?}: write 1 to 3 characters"
        )),
        _ => Err(format!(
            "aws/geolocation-subdivision-code is {subdivision:?}: Route 53 has subdivisions of US and UA only; remove it, or the \
             country {country}"
        )),
    }
}

/// Whether a region is one that this version knows.
pub fn is_known_region(region: &str) -> bool {
    lists(REGIONS, region)
}

/// Whether a text has the form of a local zone group: a region's name, a place and a number, as in `us-west-2-den-1`.
pub fn is_like_zone_group(group: &str) -> bool {
    let parts: Vec<&str> = group.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [area @ .., number, place, group] => {
            area.len() >= 2
                && area.iter().all(letters)
                && digits(number)
                && letters(place)
                && digits(group)
        }
        _ => false,
    }
}

/// Reads `latitude,longitude`. More than the two decimals that Route 53 accepts are rounded.
///
/// # Errors
/// The property, the rule and the remedy.
pub fn coordinates(text: &str) -> Result<(ArcStr, ArcStr), String> {
    let Some((latitude, longitude)) = text.split_once(',') else {
        return Err(format!("aws/geoproximity-coordinates is {text:?}: write latitude,longitude"));
    };
    let degrees = |what: &str, word: &str, most: u32| {
        in_hundredths(word.trim(), most).ok_or_else(|| {
            format!(
                "aws/geoproximity-coordinates is {text:?}: the {what} is a number from -{most} to {most}, as in 40.71"
            )
        })
    };
    Ok((degrees("latitude", latitude, 90)?, degrees("longitude", longitude, 180)?))
}

/// A decimal number of degrees with two decimals at most, and none at the end of the range; `None` if it is no number, or beyond
/// the range.
fn in_hundredths(word: &str, most: u32) -> Option<ArcStr> {
    let (is_negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !(whole.is_empty() && decimals.is_empty());
    if !is_number || whole.len() > 9 || !are_digits(whole) || !are_digits(decimals) {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let is_beyond = whole > most || (whole == most && decimals.bytes().any(|digit| digit != b'0'));
    if is_beyond {
        return None;
    }
    let digit = |at: usize| decimals.as_bytes().get(at).map_or(0, |digit| u32::from(digit - b'0'));
    let hundredths = whole * 100 + digit(0) * 10 + digit(1) + u32::from(digit(2) >= 5);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let sign = if is_negative && hundredths > 0 { "-" } else { "" };
    Some(match (rest, rest % 10) {
        (0, _) => arcstr::format!("{sign}{whole}"),
        (_, 0) => arcstr::format!("{sign}{whole}.{}", rest / 10),
        _ => arcstr::format!("{sign}{whole}.{rest:02}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_rounded_to_two_decimals_and_refused_beyond_their_range() {
        let read = |text: &str| {
            coordinates(text).map(|(latitude, longitude)| format!("{latitude},{longitude}")).ok()
        };
        for (given, wanted) in [
            ("40.71,-74.01", "40.71,-74.01"),
            ("40.7128, -74.0060", "40.71,-74.01"),
            ("40.70,+7.", "40.7,7"),
            ("-0.004,.5", "0,0.5"),
            ("89.999,-179.996", "90,-180"),
            ("90.00,180", "90,180"),
            ("-90,-180.000", "-90,-180"),
            ("5.05,09", "5.05,9"),
        ] {
            assert_eq!(read(given).as_deref(), Some(wanted), "{given}");
        }
        for refused in [
            "91,0", "90.001,0", "0,180.01", "0,-181", "1", "", ",", "a,b", "1e1,0", "--1,0",
            "1,2,3",
        ] {
            assert_eq!(read(refused), None, "{refused}");
        }
        let message = coordinates("91,0").unwrap_err();
        assert!(message.contains("the latitude is a number from -90 to 90"), "{message}");
    }

    fn place(continent: &str, country: &str, subdivision: &str) -> Result<(), String> {
        let part = |text: &str| Some(ArcStr::from(text)).filter(|text| !text.is_empty());
        check_location(&GeoLocation {
            continent_code: part(continent),
            country_code: part(country),
            subdivision_code: part(subdivision),
        })
    }

    #[test]
    fn a_place_is_one_that_route_53_finds() {
        for (continent, country, subdivision) in [
            ("EU", "", ""),
            ("", "JP", ""),
            ("", "*", ""),
            ("", "US", "WA"),
            ("", "US", "PR"),
            ("", "UA", "11"),
        ] {
            let checked = place(continent, country, subdivision);
            assert_eq!(checked, Ok(()), "{continent}{country}{subdivision}");
        }
        for (continent, country, subdivision, property) in [
            ("XX", "", "", "continent-code"),
            ("", "ZZ", "", "country-code"),
            ("", "BV", "", "country-code"),
            ("", "USA", "", "country-code"),
            ("", "US", "ZZ", "subdivision-code"),
            ("", "CA", "ON", "subdivision-code"),
            ("", "*", "WA", "subdivision-code"),
        ] {
            let message = place(continent, country, subdivision).unwrap_err();
            assert!(message.contains(&format!("aws/geolocation-{property} is ")), "{message}");
        }
    }

    #[test]
    fn a_new_region_is_not_known_and_a_zone_group_is_known_by_its_form() {
        assert!(is_known_region("eu-west-1") && !is_known_region("eu-west-9"));
        assert!(
            is_like_zone_group("us-west-2-den-1") && is_like_zone_group("us-gov-west-1-abc-12")
        );
        for other in ["us-west-2", "not-a-zone-group", "us-west-2-den-1a", "", "-----"] {
            assert!(!is_like_zone_group(other), "{other}");
        }
    }
}
