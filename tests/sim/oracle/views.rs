//! The wishes of each cluster and each agent's view of them, at every moment of the log.

use std::collections::BTreeMap;

use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::ClusterId;

use super::history::{Agent, Event, Part, Sight, What};

/// One agent's view through time. Places are places in the log.
#[derive(Debug, Default)]
struct View {
    /// The content of each endpoint, from each place on; `None` if it was not seen.
    contents: BTreeMap<EndpointKey, Vec<Seen>>,
    /// Whether each source was synced, from each place on.
    synced: BTreeMap<String, Vec<(usize, bool)>>,
}

#[derive(Clone, Debug)]
struct Seen {
    from: usize,
    content: Option<Endpoint>,
    /// The agent was sent it; not the emptiness of one that starts.
    is_observed: bool,
}

/// The wish of a cluster's objects from a place in the log on.
type Truth = (usize, Option<Endpoint>);

/// The views of all agents, and the truth.
#[derive(Debug, Default)]
pub struct Views {
    of: BTreeMap<Agent, View>,
    /// The wishes of each cluster's objects, from each place on; an agent can be wrong about them, and about what it knows.
    truth: BTreeMap<(ClusterId, EndpointKey), Vec<Truth>>,
}

impl Views {
    /// Reads a whole log.
    pub fn of(log: &[Event]) -> Self {
        let mut views = Self::default();
        for (index, event) in log.iter().enumerate() {
            match &event.what {
                What::Started(Part::Agent(agent))
                | What::Stopped(Part::Agent(agent))
                | What::Crashed(Part::Agent(agent)) => {
                    views.of.entry(agent.clone()).or_default().forget(index);
                }
                What::Saw { agent, sight } => {
                    views.of.entry(agent.clone()).or_default().see(index, sight)
                }
                What::Wanted { cluster, endpoint } => {
                    let wanted =
                        views.truth.entry((cluster.clone(), endpoint.key.clone())).or_default();
                    wanted.push((index, Some(endpoint.clone())));
                }
                What::Unwanted { cluster, key } => {
                    views
                        .truth
                        .entry((cluster.clone(), key.clone()))
                        .or_default()
                        .push((index, None));
                }
                _ => {}
            }
        }
        views
    }

    /// Whether, somewhere in the log from one place to another, an agent of the cluster had good reason to say that the endpoint
    /// does not want `it`: it had heard so, or its source was synced and had no such endpoint. And it was so.
    pub fn lacked(
        &self,
        cluster: &ClusterId,
        key: &EndpointKey,
        from: usize,
        to: usize,
        wants_it: impl Fn(&Endpoint) -> bool,
    ) -> bool {
        let mut views =
            self.of.iter().filter(|(agent, _)| agent.cluster == *cluster).map(|(_, view)| view);
        self.was_unwanted(cluster, key, from, to, &wants_it)
            && views.any(|view| view.lacked(key, from, to, &wants_it))
    }

    /// Whether the objects of the cluster did not want it, at some time between.
    fn was_unwanted(
        &self,
        cluster: &ClusterId,
        key: &EndpointKey,
        from: usize,
        to: usize,
        wants_it: &impl Fn(&Endpoint) -> bool,
    ) -> bool {
        let Some(truth) = self.truth.get(&(cluster.clone(), key.clone())) else { return true };
        let at_first = truth
            .iter()
            .rev()
            .find(|(place, _)| *place <= from)
            .and_then(|(_, content)| content.as_ref());
        let later = truth
            .iter()
            .filter(|(place, _)| (from + 1..=to).contains(place))
            .map(|(_, content)| content.as_ref());
        later.chain([at_first]).any(|content| !content.is_some_and(wants_it))
    }
}

impl View {
    fn forget(&mut self, index: usize) {
        for seen in self.contents.values_mut() {
            seen.push(Seen { from: index, content: None, is_observed: false });
        }
        for synced in self.synced.values_mut() {
            synced.push((index, false));
        }
    }

    fn see(&mut self, index: usize, sight: &Sight) {
        let (key, content) = match sight {
            Sight::Put(endpoint) => (&endpoint.key, Some(endpoint.clone())),
            Sight::Del(key) => (key, None),
            Sight::Source { kind, synced } => {
                self.synced.entry(kind.clone()).or_default().push((index, *synced));
                return;
            }
        };
        self.contents.entry(key.clone()).or_default().push(Seen {
            from: index,
            content,
            is_observed: true,
        });
    }

    fn lacked(
        &self,
        key: &EndpointKey,
        from: usize,
        to: usize,
        wants_it: &impl Fn(&Endpoint) -> bool,
    ) -> bool {
        let none = vec![];
        let contents = self.contents.get(key).unwrap_or(&none);
        let has_it = |seen: &Seen| seen.content.as_ref().is_some_and(wants_it);
        // The last news before counts for as long as the agent lives and hears nothing else.
        let known = contents.iter().rev().find(|seen| seen.from <= from);
        let told = contents.iter().filter(|seen| (from..=to).contains(&seen.from)).chain(known);
        if told.into_iter().any(|seen| seen.is_observed && !has_it(seen)) {
            return true;
        }
        let no_source = vec![];
        let synced = self.synced.get(key.source.as_str()).unwrap_or(&no_source);
        // Nothing changes between two of these places.
        let places =
            contents.iter().map(|seen| seen.from).chain(synced.iter().map(|(index, _)| *index));
        let places = places.filter(|place| (from..=to).contains(place)).chain([from]);
        places.into_iter().any(|place| {
            let is_synced = synced
                .iter()
                .rev()
                .find(|(index, _)| *index <= place)
                .is_some_and(|(_, synced)| *synced);
            let content = contents.iter().rev().find(|seen| seen.from <= place);
            is_synced && !content.is_some_and(has_it)
        })
    }
}
