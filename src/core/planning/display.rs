//! Plans and batches as text, for logs and for tests that show a whole plan.

use std::fmt;

use super::change::{Action, Batch, Change, Motive, Unit};
use super::plan::NamePlan;
use crate::core::dns::record::RawRecordSet;

impl fmt::Display for Motive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wanted => "wanted",
            Self::Withdrawn => "withdrawn",
            Self::Passed => "passed on",
            Self::Repair => "repair",
            Self::Adopt => "adopted",
            Self::Unknown => "unknown",
        })
    }
}

/// Two lines of a comparison at most, and the cause.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} by {}", self.key, self.cause.motive, self.cause.cluster)?;
        for endpoint in &self.cause.endpoints {
            write!(f, ", {endpoint}")?;
        }
        for other in &self.cause.shared_with {
            write!(f, "; {}", other.cluster)?;
            other.endpoints.iter().try_for_each(|endpoint| write!(f, ", {endpoint}"))?;
        }
        for (sign, set) in [('-', &self.before), ('+', &self.after)] {
            if let Some(set) = set {
                write!(f, "\n  {sign} {}", Content(set))?;
            }
        }
        Ok(())
    }
}

/// One change a paragraph; `together` before those that Route 53 gets in one call or not at all.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.len() > 1 {
            writeln!(f, "together:")?;
        }
        for (at, change) in self.changes.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{change}")?;
        }
        Ok(())
    }
}

/// The units, and then everything that is not planned, with its reason.
impl fmt::Display for NamePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing to do\n");
        }
        for unit in &self.units {
            writeln!(f, "{unit}")?;
        }
        for key in &self.adopted {
            writeln!(f, "adopted as it is: {key}")?;
        }
        for blocked in &self.blocked {
            writeln!(f, "blocked: {}: {blocked}", blocked.key)?;
        }
        for blocked in &self.left_out {
            writeln!(f, "left out: {}: {blocked}", blocked.key)?;
        }
        Ok(())
    }
}

/// The head, and the elements in the order of the call.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, account, zone, units, wire, .. } = self;
        writeln!(f, "batch {id}: zone {zone}, account {account}, units: {}", units.len())?;
        for element in wire {
            let action = match element.action {
                Action::Create => "CREATE",
                Action::Delete => "DELETE",
            };
            let set = &element.set;
            writeln!(f, "{action} {} {} {}", set.name, set.rtype, Content(set))?;
        }
        Ok(())
    }
}

/// A record set without its name and type.
struct Content<'a>(&'a RawRecordSet);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.0;
        if let Some(alias) = &set.alias {
            write!(f, "alias {} in {}", alias.name, alias.zone_id)?;
        }
        if let Some(ttl_secs) = set.ttl_secs {
            write!(f, "{ttl_secs} s {}", set.values.join(", "))?;
        }
        if let Some(identifier) = &set.set_identifier {
            write!(f, " [{identifier}]")?;
        }
        if let Some(weight) = set.weight {
            write!(f, " weight {weight}")?;
        }
        let texts = [
            ("region", &set.region),
            ("failover", &set.failover),
            ("health check", &set.health_check_id),
        ];
        for (what, text) in texts {
            if let Some(text) = text {
                write!(f, " {what} {text}")?;
            }
        }
        Ok(())
    }
}
