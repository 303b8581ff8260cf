//! The operations that the emulator knows, by their AWS names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The service that the signature is scoped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// REST-XML.
    Route53,
    /// Query protocol.
    Sts,
}

impl Service {
    /// The name in a signature's scope and before an action in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route53 => "route53",
            Self::Sts => "sts",
        }
    }

    /// The XML namespace of its answers.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Route53 => "https://route53.amazonaws.com/doc/2013-04-01/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

macro_rules! actions {
    ($($service:ident: $($name:ident),*;)*) => {
        /// An operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Action { $($($name,)*)* }

        impl Action {
            /// The AWS name.
            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$name => stringify!($name),)*)* }
            }

            /// The service that it belongs to.
            pub const fn service(self) -> Service {
                match self { $($(Self::$name => Service::$service,)*)* }
            }
        }
    };
}

actions! {
    Route53: ListHostedZones, CreateHostedZone, GetHostedZone, DeleteHostedZone, ListHostedZonesByName, GetHostedZoneCount,
        ListResourceRecordSets, ChangeResourceRecordSets, GetChange, ListTagsForResource, ListTagsForResources,
        ChangeTagsForResource, GetHostedZoneLimit, GetAccountLimit;
    Sts: AssumeRole, GetCallerIdentity;
}

impl Action {
    /// Whether the operation changes a hosted zone, so that the zone must not be busy with an earlier one.
    pub const fn changes_zone(self) -> bool {
        matches!(self, Self::ChangeResourceRecordSets | Self::DeleteHostedZone)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
