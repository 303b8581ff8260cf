//! The driver's work besides running: shortening, adding up, telling, and the list of seeds that failed.

use std::collections::BTreeSet;

use zonefold::core::time::Timestamp;

use super::driver::summary::{Failure, Report, Summary};
use super::driver::timeline::{self, Focus};
use super::driver::{regressions, shrink};
use super::history::*;
use super::story::{BROKER, Story, agent, set, wish};

#[test]
fn what_is_left_of_a_schedule_breaks_and_no_step_of_it_can_be_left_out() {
    for needed in
        [vec![], vec![0], vec![41], vec![3, 4], vec![0, 17, 41], vec![1, 2, 3, 5, 8, 13, 21, 34]]
    {
        let fails = |kept: &[usize]| needed.iter().all(|step| kept.contains(step));
        let (kept, runs) = shrink::shrink(42, 1_000, fails);
        assert_eq!(kept, needed, "{runs} runs");
        assert!(runs <= 200, "{runs} runs for {needed:?}");
    }
}

#[test]
fn shortening_ends_with_its_runs_and_what_is_left_still_breaks() {
    let needed = [5, 30, 60];
    for most_runs in [0, 1, 5, 20] {
        let mut asked = 0;
        let (kept, runs) = shrink::shrink(100, most_runs, |kept| {
            asked += 1;
            needed.iter().all(|step| kept.contains(step))
        });
        assert_eq!((asked, runs), (runs, runs.min(most_runs)));
        assert!(needed.iter().all(|step| kept.contains(step)), "{kept:?}");
    }
}

#[test]
fn a_selection_of_steps_survives_as_text() {
    for (kept, text) in [(vec![], ""), (vec![7], "7"), (vec![0, 3, 5, 6, 7, 9], "0,3,5-7,9")] {
        assert_eq!(shrink::to_text(&kept), text);
        assert_eq!(shrink::from_text(text), Ok(kept.into_iter().collect::<BTreeSet<usize>>()));
    }
    assert!(shrink::from_text("1,x").is_err());
}

#[test]
fn the_list_of_regressions_says_why_each_is_there() {
    let list =
        regressions::read("# the list\n\n17 # an ack too early\n 4:0,2-3  # a gap # twice\n")
            .unwrap();
    let entry = |seed, keep: Option<&str>, why: &str| regressions::Regression {
        seed,
        keep: keep.map(str::to_owned),
        why: why.to_owned(),
    };
    assert_eq!(
        list,
        [entry(17, None, "an ack too early"), entry(4, Some("0,2-3"), "a gap # twice")]
    );
    for (wrong, why) in
        [("17", "line 1: say after a #"), ("x # y", "is no seed"), ("1:a # y", "is no step")]
    {
        let error = regressions::read(wrong).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_list_in_the_repository_can_be_read() {
    let list = include_str!("../../sim/regressions.txt");
    assert_eq!(regressions::read(list).map(|_| ()), Ok(()));
}

#[test]
fn runs_add_up() {
    let mut summary = Summary::default();
    let sound = Report {
        seed: 1,
        virtual_ms: 1_800_000,
        faults: [("net.loss".to_owned(), 3)].into(),
        ..Report::default()
    };
    let failures =
        vec![Failure { broken: "converges".to_owned(), what: "www is not there".to_owned() }];
    let broken = Report { seed: 2, virtual_ms: 5_400_000, failures, ..sound.clone() };
    summary.add(sound);
    summary.add(broken);
    summary.after_secs(120.0);
    assert_eq!((summary.runs, summary.virtual_hours, summary.faults_injected), (2, 2.0, 6));
    assert_eq!((summary.virtual_hours_per_minute, summary.faults_per_minute), (1.0, 3.0));
    assert_eq!(summary.violations.iter().map(|failed| failed.seed).collect::<Vec<_>>(), [2]);
    assert!(
        summary.text().contains("seed 2 broke converges: www is not there"),
        "{}",
        summary.text()
    );
}

#[test]
fn a_timeline_tells_of_the_names_that_it_is_about_and_of_what_concerns_everybody() {
    let mut story = Story::new();
    let (web, api) = (wish("web", "www", &["192.0.2.1"]), wish("api", "api", &["192.0.2.2"]));
    story.tell(What::Step { number: 0, text: "east wants two names".to_owned() });
    for endpoint in [&web, &api] {
        story.wants("east", 1, endpoint);
    }
    for _ in 0..3 {
        story.tell(What::Fault { kind: "net.loss", text: "a piece is lost".to_owned() });
    }
    let put = |endpoint: &zonefold::core::endpoint::Endpoint| Op::Put {
        endpoint: endpoint.clone(),
        version: endpoint.version(),
    };
    story.sends("east", 1, 1, put(&api));
    story.acks("east", 1, 1);
    story.sends("east", 1, 2, put(&web));
    story.acks("east", 1, 2);
    story.publishes(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.publishes(2, "east", &api, &[(None, Some(set("api", &["192.0.2.2"])))]);
    story.tell(What::Crashed(Part::Replica(BROKER)));
    story.tell(What::Started(Part::Agent(agent("east"))));

    let tell = |names: &[&str], until| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        timeline::lines(&story.history, &Focus::Names(names), until).join("\n")
    };
    let of_www = tell(&["www.example.com"], story.now());
    for said in [
        "STEP 0: east wants two names",
        "the objects of east want www.example.com A from dnsendpoint/default/web = 192.0.2.1",
        "agent east sees www",
        "agent east sends 2 in session 1: put www",
        "agent east is acked up to 2 in session 1",
        "the store for broker 0.0: session 1 of east commits 1: www",
        "batch 1 is journalled (1 changes): CREATE www.example.com A = 192.0.2.1 (TTL 300)",
        "AWS applies batch 1: CREATE www.example.com",
        "fault net.loss: a piece is lost",
        "... and 2 more of net.loss",
        "broker 0.0 CRASHES",
    ] {
        assert!(of_www.contains(said), "{said:?} is not in\n{of_www}");
    }
    assert!(!of_www.contains("api") && !of_www.contains("acked up to 1 "), "{of_www}");
    assert!(
        !tell(&["www.example.com"], Timestamp(3_000)).contains("CRASHES"),
        "it ends when it is told to"
    );
    let of_calls = tell(&[], story.now());
    assert!(
        of_calls.contains("call 2 of broker 0.0 under lease 1 (ChangeResourceRecordSets with batch 2) arrives at AWS"),
        "{of_calls}"
    );
    assert!(
        timeline::lines(&story.history, &Focus::All, story.now()).len() > of_calls.lines().count()
    );
}
