use proptest::prelude::*;

use super::*;
use crate::core::dns::record::RecordType::*;

/// Each given text has the canonical one, and that one is its own.
fn takes(rtype: RecordType, cases: &[(&str, &str)]) {
    for (given, canonical) in cases {
        assert_eq!(canonical_value(rtype, given).as_deref(), Ok(*canonical), "{rtype} {given:?}");
        assert_eq!(
            canonical_value(rtype, canonical).as_deref(),
            Ok(*canonical),
            "{rtype} {canonical:?} again"
        );
    }
}

fn refuses(rtype: RecordType, values: &[&str]) {
    for value in values {
        assert!(canonical_value(rtype, value).is_err(), "{rtype} {value:?}");
    }
}

#[test]
fn rfc1123_2_1_an_ipv4_address_is_four_decimal_numbers() {
    takes(
        A,
        &[
            ("192.0.2.1", "192.0.2.1"),
            (" 0.0.0.0 ", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
        ],
    );
    refuses(
        A,
        &[
            "192.0.2.01",
            "192.0.2",
            "256.0.0.1",
            "192.0.2.1/32",
            "192.0.2.1 192.0.2.2",
            "0x7f.1",
            "::1",
            "",
        ],
    );
}

#[test]
fn rfc5952_4_an_ipv6_address_has_one_text() {
    takes(
        Aaaa,
        &[
            ("2001:DB8::0001", "2001:db8::1"),
            ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("::ffff:c000:201", "::ffff:192.0.2.1"),
            ("0:0:0:0:0:0:0:0", "::"),
        ],
    );
    refuses(Aaaa, &["192.0.2.1", "[::1]", "fe80::1%eth0", "2001:db8::/32", "1::2::3", "12345::"]);
}

#[test]
fn names_are_lower_case_with_the_final_dot() {
    for rtype in [Cname, Ns, Ptr] {
        takes(
            rtype,
            &[("WWW.example.com", "www.example.com."), ("_a.example.com.", "_a.example.com.")],
        );
        refuses(rtype, &["", ".", "a b", "a..b", "http://example.com/ x"]);
    }
}

#[test]
fn rfc1034_3_6_2_a_cname_has_one_value() {
    let values = |values: &[&str]| {
        canonical_values(Cname, &values.iter().map(|v| ArcStr::from(*v)).collect::<Vec<_>>())
    };
    assert_eq!(values(&["a.example.com", "A.example.com."]).unwrap(), ["a.example.com."]);
    assert!(values(&["a.example.com", "b.example.com"]).is_err());
}

#[test]
fn rfc1035_3_3_9_mx_and_rfc7505_3_no_mail() {
    takes(Mx, &[("10  Mail.example.com", "10 mail.example.com."), ("0 .", "0 .")]);
    refuses(
        Mx,
        &[
            "mail.example.com",
            "-1 a.example.com",
            "+1 a.example.com",
            "65536 a.example.com",
            "10 a b",
        ],
    );
}

#[test]
fn rfc2782_srv() {
    takes(
        Srv,
        &[("10 05 5060 sip.example.com", "10 5 5060 sip.example.com."), ("0 0 0 .", "0 0 0 .")],
    );
    refuses(Srv, &["10 5 sip.example.com", "10 5 70000 sip.example.com", "10 5 x sip.example.com"]);
}

#[test]
fn rfc1035_3_3_13_soa() {
    takes(
        Soa,
        &[(
            "ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400",
            "ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400",
        )],
    );
    refuses(
        Soa,
        &["ns-1.example.com. admin.example.com. 1 7200 900 1209600", "a. b. 4294967296 1 1 1 1"],
    );
}

#[test]
fn rfc1035_5_1_txt_strings_and_their_escapes() {
    takes(
        Txt,
        &[
            ("\"a\"   \"b\"", "\"a\" \"b\""),
            ("\"first\"\"second\"", "\"first\" \"second\""),
            ("\t\"a\"\t\"b\"", "\"a\" \"b\""),
            ("a\tb", "\"a\\011b\""),
            ("v=spf1 -all", "\"v=spf1 -all\""),
            (r#"say \ and "so""#, r#""say \\ and \"so\"""#),
            (r#""a\"b\\c\101""#, r#""a\"b\\cA""#),
            ("b\u{fc}cher", r#""b\303\274cher""#),
            ("\"b\u{fc}cher\"", r#""b\303\274cher""#),
            ("\"tab\there\"", r#""tab\011here""#),
            ("\"\"", "\"\""),
        ],
    );
    refuses(Txt, &["\"a", "\"a\" b", "\"a\"b", r#""\9""#, r#""\400""#, r#""\08x""#, "\"a\\", "  "]);
}

#[test]
fn rfc1035_3_3_a_string_has_255_octets_and_longer_text_is_split() {
    let long = "x".repeat(256);
    let split = canonical_value(Txt, &long).unwrap();
    assert_eq!(split, format!("\"{}\" \"x\"", "x".repeat(255)));
    let error = canonical_value(Txt, &format!("\"{long}\"")).unwrap_err();
    assert!(error.to_string().contains("split it"), "{error}");
    assert!(canonical_value(Txt, &format!("\"{}\"", "x".repeat(255))).is_ok());
}

#[test]
fn route_53_takes_4000_characters_a_value_and_400_values_a_set() {
    // In 16 strings with 32 quotation marks; the 15 spaces between them are left out where they do not fit.
    assert!(canonical_value(Txt, &"x".repeat(3_953)).unwrap().contains("\" \""));
    let longest = canonical_value(Txt, &"x".repeat(3_968)).unwrap();
    assert_eq!((longest.len(), longest.contains("\"\"")), (4_000, true));
    assert_eq!(canonical_value(Txt, &longest).as_deref(), Ok(longest.as_str()));
    let error = canonical_value(Txt, &"x".repeat(3_969)).unwrap_err();
    assert!(error.problem.contains("4001 characters"), "{error}");
    assert_eq!(error.value.len(), 80, "a long value is cut");

    let addresses = |count: u32| {
        (0..count)
            .map(|n| ArcStr::from(std::net::Ipv4Addr::from_bits(n).to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(canonical_values(A, &addresses(400)).unwrap().len(), 400);
    assert!(canonical_values(A, &addresses(401)).is_err());
    assert!(canonical_values(A, &[]).is_err());
}

#[test]
fn rfc8659_4_1_caa() {
    takes(
        Caa,
        &[
            ("0 issue \"ca.example.net; account=1\"", "0 issue \"ca.example.net; account=1\""),
            ("128 Issue ca.example.net", "128 issue \"ca.example.net\""),
            ("0 iodef \"mailto:a@example.com\"", "0 iodef \"mailto:a@example.com\""),
            ("0 issue \";\"", "0 issue \";\""),
        ],
    );
    refuses(
        Caa,
        &[
            "0 issue",
            "256 issue \"a\"",
            "0 is-sue \"a\"",
            "0 issue a b",
            "0 \"issue\" \"a\"",
            "0 abcdefghijklmnop \"a\"",
        ],
    );
}

#[test]
fn rfc3403_4_1_naptr() {
    takes(
        Naptr,
        &[
            (
                r#"100 10 "u" "E2U+sip" "!^.*$!sip:a@example.com!" ."#,
                r#"100 10 "u" "E2U+sip" "!^.*$!sip:a@example.com!" ."#,
            ),
            (
                r#"100 50 s SIP+D2U "" _sip._udp.Example.com"#,
                r#"100 50 "s" "SIP+D2U" "" _sip._udp.example.com."#,
            ),
        ],
    );
    refuses(
        Naptr,
        &[r#"100 10 "u" "E2U+sip" "!a!b!" a.example.com"#, "100 10 u s .", r#"100 10 "?" "" "" ."#],
    );
}

#[test]
fn rfc4034_5_3_ds_and_its_digest_lengths() {
    let sha256 = "ab".repeat(32);
    let (head, tail) = sha256.split_at(10);
    takes(Ds, &[(&format!("60485 8 2 {head} {tail}"), &format!("60485 8 2 {}", "AB".repeat(32)))]);
    refuses(
        Ds,
        &[
            &format!("60485 8 1 {sha256}"),
            "60485 8 2 ab",
            "60485 8 9 abc",
            "60485 8 9 zz",
            "60485 8 2",
        ],
    );
    takes(Ds, &[("1 8 9 ab", "1 8 9 AB")]);
}

#[test]
fn rfc6698_2_2_tlsa() {
    takes(Tlsa, &[(&format!("3 1 1 {}", "0f".repeat(32)), &format!("3 1 1 {}", "0F".repeat(32)))]);
    refuses(Tlsa, &[&format!("3 1 2 {}", "0f".repeat(32)), "3 1 1", "3 1 256 00"]);
}

#[test]
fn rfc4255_3_2_and_rfc6594_sshfp() {
    takes(Sshfp, &[(&format!("4 2 {}", "0f".repeat(32)), &format!("4 2 {}", "0F".repeat(32)))]);
    refuses(Sshfp, &[&format!("1 1 {}", "0f".repeat(32)), "1 1"]);
}

#[test]
fn rfc9460_2_1_svcb_parameters_stand_in_the_order_of_their_numbers() {
    for rtype in [Svcb, Https] {
        takes(
            rtype,
            &[
                ("0 Foo.example.com", "0 foo.example.com."),
                ("1 .", "1 ."),
                (
                    "16 . ipv6hint=2001:DB8::0001 port=0443 key667=\"hello world\" alpn=h2,h3",
                    "16 . alpn=\"h2,h3\" port=\"443\" ipv6hint=\"2001:db8::1\" key667=\"hello world\"",
                ),
                (
                    "1 a.example mandatory=port,alpn alpn=h2 port=1",
                    "1 a.example. mandatory=\"alpn,port\" alpn=\"h2\" port=\"1\"",
                ),
                ("1 . no-default-alpn alpn=\"h2\"", "1 . alpn=\"h2\" no-default-alpn"),
                ("1 . ech=AEj+DQ==", "1 . ech=\"AEj+DQ==\""),
                ("1 . alpn=h2 dohpath=/q{?dns}", "1 . alpn=\"h2\" dohpath=\"/q{?dns}\""),
                ("1 . key10", "1 . key10"),
            ],
        );
        refuses(
            rtype,
            &[
                "1",
                "x .",
                "0 . port=1",
                "1 . port=65536",
                "1 . port=1 port=2",
                "1 . Port=1",
                "1 . key3=1",
                "1 . key65535=1",
                "1 . key012=1",
                "1 . unknown=1",
                "1 . ipv4hint=::1",
                "1 . ipv4hint=",
                "1 . alpn=h2,,h3",
                "1 . no-default-alpn",
                "1 . no-default-alpn=x alpn=h2",
                "1 . mandatory=port",
                "1 . mandatory=mandatory",
                "1 . mandatory=port,port port=1",
                "1 . ech=a",
                "1 . alpn=\"h2\"port=1",
                "1 . alpn=\"h2",
            ],
        );
    }
}

#[test]
fn a_set_is_sorted_and_has_no_value_twice() {
    let values = ["192.0.2.2", "192.0.2.1", " 192.0.2.2"].map(ArcStr::from);
    assert_eq!(canonical_values(A, &values).unwrap(), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn an_error_says_the_value_the_rule_and_the_remedy() {
    assert_eq!(
        canonical_value(A, "10.0.0.01").unwrap_err().to_string(),
        "A value \"10.0.0.01\": it is no IPv4 address: write four numbers from 0 to 255 with dots and without leading zeros"
    );
}

fn any_type() -> impl Strategy<Value = RecordType> {
    prop::sample::select(RecordType::ALL.to_vec())
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic_and_what_it_takes_is_canonical(
        rtype in any_type(),
        text in prop_oneof![
            "\\PC{0,40}",
            "[0-9]{1,3} [\\\\\"a-z0-9.= ,;ü]{0,30}",
            "(\"[\\\\\"a-z0-7 ü]{0,8}\" ?){0,4}",
            "[0-9] \\. ((alpn|port|ipv4hint|mandatory|key[0-9]{1,5}|ech)=?\"?[a-z0-9.,=\\\\]{0,8}\"? ?){0,3}",
            "([0-9a-f]{1,4} ){1,7}",
            "([0-9a-fA-F]{0,4}:){2,7}[0-9a-f]{0,4}",
        ],
    ) {
        if let Ok(canonical) = canonical_value(rtype, &text) {
            prop_assert!(canonical.is_ascii(), "{}", canonical);
            prop_assert_eq!(canonical_value(rtype, &canonical), Ok(canonical));
        }
    }

    #[test]
    fn every_octet_of_a_text_survives_its_quotes(text in "\\PC{1,300}") {
        prop_assume!(!text.trim().is_empty() && !text.trim_start().starts_with('"'));
        let canonical = canonical_value(Txt, &text).unwrap();
        let mut octets = vec![];
        let mut rest = canonical.as_str();
        while let Some(inside) = rest.strip_prefix('"') {
            let (string, after) = text::read_quoted(inside).unwrap();
            prop_assert!(string.len() <= 255);
            octets.extend(string);
            rest = after.trim_start();
        }
        prop_assert_eq!(octets, text.as_bytes());
    }

    #[test]
    fn addresses_mean_what_another_reader_takes_them_for(text in "[0-9a-f:.]{1,24}|[0-9]{1,3}(\\.[0-9]{1,3}){3}") {
        use hickory_proto::rr::{RData, RecordType as Other};
        use std::str::FromStr;
        for (rtype, other) in [(A, Other::A), (Aaaa, Other::AAAA)] {
            let theirs = match other {
                Other::A => hickory_proto::rr::rdata::A::from_str(&text).ok().map(RData::A),
                _ => hickory_proto::rr::rdata::AAAA::from_str(&text).ok().map(RData::AAAA),
            };
            prop_assert_eq!(canonical_value(rtype, &text).ok(), theirs.map(|data| data.to_string()));
        }
    }
}
