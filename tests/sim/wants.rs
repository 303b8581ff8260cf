//! Wants that the schedule's own draws are too narrow for, in three seeds of ten: zones that endpoints name themselves and private
//! zones, aliases, and routing policies. They are drawn apart, so that the rest of a seed is what it would be without them, and have
//! objects and names of their own. Brokers are killed around the edits.

use crate::agent::SOURCES;
use crate::net::Death;
use crate::schedule::{Going, Step, TimedStep};
use crate::shape::{Shape, Zone};
use crate::wish::{Object, Wish, address};

/// The objects have numbers from here on.
const FIRST: u8 = 50;
/// The number of seeds in ten that have wants of each kind.
const OF_TEN: u8 = 1;
/// Keeps the draws apart from those of the schedule and of the trials.
const APART: u64 = 0x3A17_5000_0000_0B0E;
/// The ids of zones that endpoints name: public, private.
const IDS: [(&str, &str, &str); 3] = [
    ("example.com", "Z0PUBLICCOM", "Z0PRIVATECOM"),
    ("example.org", "Z0PUBLICORG", "Z0PRIVATEORG"),
    ("dev.example.com", "Z0PUBLICDEV", "Z0PRIVATEDEV"),
];
/// A load balancer, whose zone is AWS's.
const BALANCER: &str = "lb{}.eu-central-1.elb.amazonaws.com";

/// Draws the wants besides the schedule of a seed, if any; the shape gets the zones for them.
pub fn draw(seed: u64, shape: &mut Shape) -> Vec<TimedStep> {
    let mut random = fastrand::Rng::with_seed(seed ^ APART);
    let kind = random.u8(0..10) / OF_TEN;
    if kind == 0 {
        add_private_zones(shape, &mut random);
    }
    let (shape, random) = (&*shape, &mut random);
    match kind {
        0 => Edits { shape, random }.draw(Edits::placed),
        1 => Edits { shape, random }.draw(Edits::aliases),
        2 => {
            let mut edits = Edits { shape, random };
            let mut steps = edits.poison();
            steps.extend(edits.draw(Edits::routed));
            steps
        }
        _ => vec![],
    }
}

/// Zones of the names that are public, private ones, and in some worlds a private one below a public zone.
fn add_private_zones(shape: &mut Shape, random: &mut fastrand::Rng) {
    let public: Vec<&str> = shape.zones().map(|(_, zone)| zone.apex).collect();
    for (apex, public_id, private_id) in IDS {
        let zones = shape.accounts.iter_mut().flat_map(|account| &mut account.zones);
        zones.filter(|zone| zone.apex == apex).for_each(|zone| zone.id = Some(public_id));
        let is_below = apex == "dev.example.com";
        let is_there = apex == "example.com" || is_below || public.contains(&apex);
        if is_there && (apex == "example.com" || random.bool()) {
            let zone = Zone { id: Some(private_id), ..Zone::draw(apex, random) };
            let account = random.usize(0..shape.accounts.len());
            shape.accounts[account].private.push(zone);
        }
    }
}

/// Draws objects and their edits.
struct Edits<'a> {
    shape: &'a Shape,
    random: &'a mut fastrand::Rng,
}

impl Edits<'_> {
    /// Objects of clusters, each edited some times, now and then with a broker or an agent that is killed a little before or after.
    fn draw(&mut self, wishes: fn(&mut Self, u8) -> Vec<Wish>) -> Vec<TimedStep> {
        let mut steps = vec![];
        for _ in 0..self.random.u8(2..=4) {
            let cluster = self.random.usize(0..self.shape.clusters.len());
            let number = FIRST + self.random.u8(0..4);
            let object = Object { kind: SOURCES[self.random.usize(0..SOURCES.len())], number };
            for _ in 0..self.random.u8(2..=8) {
                let at_ms = self.random.u64(1_000..self.shape.length_ms);
                let step = if self.random.u8(0..10) == 0 {
                    Step::Delete { cluster, object }
                } else {
                    Step::Want { cluster, object, wishes: wishes(self, number) }
                };
                steps.push(TimedStep { at_ms, step });
                if self.random.u8(0..3) == 0 {
                    steps.push(self.kill(cluster, at_ms));
                }
            }
        }
        steps
    }

    /// Route 53 refuses a name that goes out with those of [`Self::routed`], so that their batches are halved.
    fn poison(&mut self) -> Vec<TimedStep> {
        let apexes: Vec<&str> = self.shape.zones().map(|(_, zone)| zone.apex).collect();
        let poisoned = |apex: &&str| {
            let step = Step::Poison { host: format!("rx.{apex}"), for_ms: 60_000 };
            TimedStep { at_ms: self.random.u64(0..self.shape.length_ms / 2), step }
        };
        apexes.iter().map(poisoned).collect()
    }

    fn kill(&mut self, cluster: usize, around_ms: u64) -> TimedStep {
        let (going, for_ms) = (Going::Crash(Death::Silent), self.random.u64(50..=3_000));
        let step = if self.random.u8(0..4) == 0 {
            Step::RestartAgent { cluster, going, for_ms }
        } else {
            Step::RestartBroker { broker: self.random.u32(0..self.shape.brokers), going, for_ms }
        };
        let at_ms = (around_ms + self.random.u64(0..=4_000)).saturating_sub(1_000);
        TimedStep { at_ms: at_ms.min(self.shape.length_ms - 1), step }
    }

    fn apex(&mut self) -> &'static str {
        let apexes: Vec<&'static str> = self.shape.all_zones().map(|(_, it, _)| it.apex).collect();
        apexes[self.random.usize(0..apexes.len())]
    }

    /// An address at a name, in zones that the endpoint chooses: it names one, or says who is to see it, or says nothing.
    fn placed(&mut self, number: u8) -> Vec<Wish> {
        let ids: Vec<&'static str> =
            self.shape.all_zones().filter_map(|(_, zone, _)| zone.id).collect();
        (0..self.random.u8(1..=2))
            .map(|_| {
                // Few names, so that edits move what is there, and clusters meet.
                let host = match self.random.u8(0..4) {
                    0 => format!("p{number}.dev.example.com"),
                    1 => format!("p0.{}", self.apex()),
                    _ => format!("p{number}.example.com"),
                };
                let mut wish = Wish::plain(host, self.random);
                match self.random.u8(0..8) {
                    0..=3 => {
                        let id = ids[self.random.usize(0..ids.len())];
                        wish.properties.push(("aws/hosted-zone-id", id.to_owned()));
                    }
                    4..=6 => {
                        let word =
                            ["public", "private", "both", "internal"][self.random.usize(0..4)];
                        wish.properties.push(("zonefold/visibility", word.to_owned()));
                    }
                    _ => {}
                }
                if self.random.u8(0..12) == 0 {
                    wish.targets = vec!["not-an-address".to_owned()];
                }
                wish
            })
            .collect()
    }

    /// Aliases, and the names of the own zone that they lead to, whose addresses come and go.
    fn aliases(&mut self, number: u8) -> Vec<Wish> {
        let apex = self.apex();
        if number.is_multiple_of(2) {
            return self.targets_of_aliases(apex);
        }
        let host = match self.random.u8(0..8) {
            0 => apex.to_owned(),
            1 | 2 => format!("a0.{apex}"),
            _ => format!("a{number}.{apex}"),
        };
        let balancer = BALANCER.replace("{}", &self.random.u8(0..2).to_string());
        let own = format!("t{}.{apex}", self.random.u8(0..2));
        let (rtype, target, alias) = match self.random.u8(0..12) {
            0..=4 => ("CNAME", own, Some("true")),
            5 => (["A", "AAAA"][self.random.usize(0..2)], own, Some("true")),
            6 | 7 => ("CNAME", balancer, None),
            8 => ("CNAME", balancer, Some("false")),
            9 => ("CNAME", own, Some("false")),
            // Mistakes: no name, and one that does not lie in the zone and is not AWS's.
            10 => ("CNAME", "bad..target".to_owned(), Some("true")),
            _ => ("CNAME", "www.example.net".to_owned(), Some("true")),
        };
        let mut wish = Wish { rtype, targets: vec![target], ..Wish::plain(host, self.random) };
        wish.properties.extend(alias.map(|word| ("alias", word.to_owned())));
        vec![wish]
    }

    fn targets_of_aliases(&mut self, apex: &str) -> Vec<Wish> {
        let host = format!("t{}.{apex}", self.random.u8(0..2));
        let a = Wish::plain(host.clone(), self.random);
        let number = self.random.u8(1..9);
        let aaaa = Wish {
            rtype: "AAAA",
            targets: vec![format!("2001:db8::{number}")],
            ..Wish::plain(host, self.random)
        };
        match self.random.u8(0..4) {
            0 => vec![a],
            1 => vec![aaaa],
            _ => vec![a, aaaa],
        }
    }

    /// Record sets of one name under one routing policy as a rule, whose places (a role, a region, a location) change hands.
    fn routed(&mut self, number: u8) -> Vec<Wish> {
        let apexes: Vec<&'static str> = self.shape.zones().map(|(_, zone)| zone.apex).collect();
        let apex = apexes[usize::from(number) % apexes.len()];
        let place = number % 4;
        // Each name has its policy, and now and then one comes with another.
        let policy = if self.random.u8(0..8) == 0 { self.random.u8(0..4) } else { place };
        let places: [&[(&str, &str)]; 4] = [
            &[("aws/failover", "PRIMARY"), ("aws/failover", "SECONDARY")],
            &[
                ("aws/region", "eu-central-1"),
                ("aws/region", "us-east-1"),
                ("aws/region", "eu-west-1"),
            ],
            &[
                ("aws/geolocation-country-code", "*"),
                ("aws/geolocation-country-code", "DE"),
                ("aws/geolocation-continent-code", "EU"),
            ],
            &[("aws/weight", "0"), ("aws/weight", "10"), ("aws/weight", "20")],
        ];
        let mut places = places[usize::from(policy)].to_vec();
        self.random.shuffle(&mut places);
        let most = places.len();
        let count = if self.random.bool() { most } else { self.random.usize(1..=most) };
        // The identifiers stay and the places do not: an edit often swaps two.
        let who = if self.random.u8(0..4) == 0 { FIRST } else { number };
        let beside = if self.random.bool() {
            vec![Wish::plain(format!("rx.{apex}"), self.random)]
        } else {
            vec![]
        };
        (0..count)
            .zip(places)
            .map(|(index, (property, value))| {
                let mut properties = vec![(property, value.to_owned())];
                if value == "PRIMARY" {
                    let check = "11111111-2222-3333-4444-555555555555".to_owned();
                    properties.push(("aws/health-check-id", check));
                }
                Wish {
                    host: format!("r{place}.{apex}"),
                    rtype: "A",
                    set_identifier: format!("w{who}-{index}"),
                    targets: vec![address(self.random)],
                    ttl_secs: [None, Some(60)][self.random.usize(0..2)],
                    weight: None,
                    properties,
                }
            })
            .chain(beside)
            .collect()
    }
}
