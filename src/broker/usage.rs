//! How much of its quota each cluster uses, as figures that are made when they are asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::directory::{Directory, SharedDirectory};
use crate::core::ids::ClusterId;

/// The figures of all clusters, once the directory is there.
#[derive(Clone, Default)]
pub struct UsageFigures(Arc<OnceLock<SharedDirectory>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabel {
    cluster: String,
}

/// A figure of one cluster; `None` if it has none.
type OfCluster = fn(&Directory, &ClusterId) -> Option<usize>;

struct ClusterFigure {
    name: &'static str,
    help: &'static str,
    of_cluster: OfCluster,
}

const fn figure(name: &'static str, help: &'static str, of_cluster: OfCluster) -> ClusterFigure {
    ClusterFigure { name, help, of_cluster }
}

const FIGURES: [ClusterFigure; 3] = [
    figure(
        "zonefold_cluster_endpoints",
        "Endpoints of a cluster that are stored",
        |directory, cluster| Some(directory.usage(cluster).stored),
    ),
    figure(
        "zonefold_cluster_endpoints_over_quota",
        "Endpoints of a cluster beyond its quota, of which only the keys are stored",
        |directory, cluster| Some(directory.usage(cluster).withheld),
    ),
    figure(
        "zonefold_cluster_max_endpoints",
        "Endpoints of a cluster that may be stored",
        |directory, cluster| directory.quota(cluster).map(|quota| quota.max_endpoints),
    ),
];

/// The clusters that are registered, or have endpoints.
fn clusters_of(directory: &SharedDirectory) -> Vec<(&SharedDirectory, ClusterId)> {
    let mut clusters: BTreeSet<ClusterId> = directory.clusters().into_iter().collect();
    clusters.extend(directory.settings().keys().cloned());
    clusters.into_iter().map(|cluster| (directory, cluster)).collect()
}

impl UsageFigures {
    /// The figures are those of this directory.
    pub(super) fn follow(&self, directory: &SharedDirectory) {
        // A second broker in one process registers figures of its own.
        let _first = self.0.set(Arc::clone(directory));
    }
}

impl fmt::Debug for UsageFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageFigures")
    }
}

impl Collector for UsageFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<(&SharedDirectory, ClusterId)> =
            self.0.get().into_iter().flat_map(|directory| clusters_of(directory)).collect();
        for ClusterFigure { name, help, of_cluster } in FIGURES {
            let mut figures = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (directory, cluster) in &all {
                let Some(figure) = of_cluster(directory, cluster) else { continue };
                let label = ClusterLabel { cluster: cluster.to_string() };
                let gauge = ConstGauge::new(i64::try_from(figure).unwrap_or(i64::MAX));
                gauge.encode(figures.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::broker::directory::ClusterSettings;
    use crate::core::endpoint::packed::PackedEndpoint;
    use crate::core::endpoint::quota::{Quota, QuotaBound};
    use crate::core::ids::EnvironmentId;
    use crate::core::testkit::{cluster, endpoint};
    use crate::core::visibility::Exposure;
    use crate::ports::{IngestOp, OpOutcome};

    #[test]
    fn each_cluster_s_use_of_its_quota_is_shown() {
        let settings = ClusterSettings {
            environment: EnvironmentId::parse("dev").unwrap(),
            labels: BTreeMap::new(),
            exposure: Exposure::Both,
            quota: Quota { max_endpoints: 1, ..Quota::default() },
        };
        let directory = Arc::new(Directory::new(HashMap::from([(cluster("east"), settings)])));
        for (arrival, bound) in [(1, None), (2, Some(QuotaBound::Endpoints))] {
            let wanted = endpoint(&format!("web{arrival}"), "n.example.com", "A", &["192.0.2.1"]);
            let packed = PackedEndpoint::pack(&wanted);
            let op = IngestOp::Put {
                key: wanted.key.hash(),
                version: wanted.version(),
                endpoint: bound.map_or(packed.clone(), |bound| packed.withhold(bound)),
            };
            let stored = [OpOutcome::Stored { arrival }];
            directory.commit(&cluster("east"), vec![op], &BTreeMap::new(), &stored, &mut vec![]);
        }
        let (mut registry, figures) = (Registry::default(), UsageFigures::default());
        registry.register_collector(Box::new(figures.clone()));
        let shown = |registry: &Registry| {
            let mut text = String::new();
            encode(&mut text, registry).unwrap();
            text
        };
        assert!(!shown(&registry).contains("cluster="), "before the broker has started");
        figures.follow(&directory);
        let shown = shown(&registry);
        for line in [
            "zonefold_cluster_endpoints{cluster=\"east\"} 1",
            "zonefold_cluster_endpoints_over_quota{cluster=\"east\"} 1",
            "zonefold_cluster_max_endpoints{cluster=\"east\"} 1",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
