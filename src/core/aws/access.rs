//! How an AWS account is reached: its partition, the role to assume there, and the conditions of that role.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::ids::AccountId;

/// A group of regions with accounts, ARNs and a Route 53 of its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Partition {
    /// The commercial regions.
    #[default]
    #[serde(rename = "aws")]
    Aws,
    /// China.
    #[serde(rename = "aws-cn")]
    AwsCn,
    /// GovCloud (US).
    #[serde(rename = "aws-us-gov")]
    AwsUsGov,
}

impl Partition {
    /// The name as it stands in an ARN.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
        }
    }

    /// The region whose endpoint answers for Route 53, which is global inside a partition.
    pub const fn route53_region(self) -> &'static str {
        match self {
            Self::Aws => "us-east-1",
            Self::AwsCn => "cn-northwest-1",
            Self::AwsUsGov => "us-gov-west-1",
        }
    }

    /// Reads the name as it stands in an ARN.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Aws, Self::AwsCn, Self::AwsUsGov]
            .into_iter()
            .find(|partition| partition.as_str() == text)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not the ARN of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the ARN of an IAM role: {rule}")]
pub struct RoleArnError {
    /// The given text, at most 100 characters of it.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// The ARN of an IAM role: `arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    text: String,
    partition: Partition,
    account: AccountId,
}

impl RoleArn {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, RoleArnError> {
        let refuse = |rule| RoleArnError { text: text.chars().take(100).collect(), rule };
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") {
            return Err(refuse("it starts with arn:"));
        }
        let partition = parts
            .next()
            .and_then(Partition::parse)
            .ok_or_else(|| refuse("its second part is the partition: aws, aws-cn or aws-us-gov"))?;
        if parts.next() != Some("iam") || parts.next() != Some("") {
            return Err(refuse("its third part is iam and its fourth, the region, is empty"));
        }
        let account = parts
            .next()
            .and_then(|account| AccountId::parse(account).ok())
            .ok_or_else(|| refuse("its fifth part is the account's twelve digits"))?;
        // IAM: a path of printable ASCII, then a name of 1 to 64 characters [\w+=,.@-].
        let path_and_name = parts
            .next()
            .and_then(|resource| resource.strip_prefix("role/"))
            .ok_or_else(|| refuse("its last part starts with role/"))?;
        let name = path_and_name.rsplit('/').next().unwrap_or_default();
        if !(1..=64).contains(&name.len()) || !name.chars().all(is_name_char) {
            return Err(refuse("the role's name has 1 to 64 characters A-Z, a-z, 0-9 and _+=,.@-"));
        }
        if path_and_name.len() > 512 + name.len()
            || !path_and_name.chars().all(|c| c.is_ascii_graphic())
        {
            return Err(refuse("the role's path has at most 512 printable characters"));
        }
        Ok(Self { text: text.to_owned(), partition, account })
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition that the ARN names.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The account that the ARN names.
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for RoleArn {
    type Err = RoleArnError;
    fn from_str(text: &str) -> Result<Self, RoleArnError> {
        Self::parse(text)
    }
}

impl Serialize for RoleArn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for RoleArn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is not an external id. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an external id has 2 to 1,224 characters A-Z, a-z, 0-9 and _+=,.@:/-")]
pub struct ExternalIdError;

/// The external id that the trust policy of a role asks for (STS AssumeRole: 2 to 1,224 characters `[\w+=,.@:\/-]`).
///
/// AWS does not call it a secret, but it is what keeps a confused deputy out, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalId(String);

impl ExternalId {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, ExternalIdError> {
        let fits = (2..=1_224).contains(&text.len())
            && text.chars().all(|c| is_name_char(c) || c == ':' || c == '/');
        if fits { Ok(Self(text.to_owned())) } else { Err(ExternalIdError) }
    }

    /// The text, for the call to STS.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for ExternalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// How one account is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountAccess {
    /// The account that is changed.
    pub account: AccountId,
    pub partition: Partition,
    /// A role to assume first, from which `role_arn` is assumed.
    pub via_role_arn: Option<RoleArn>,
    /// The role to assume in the account; `None` if the broker's own credentials belong to the account.
    pub role_arn: Option<RoleArn>,
    /// The external id that the trust policy of `role_arn` asks for.
    pub external_id: Option<ExternalId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_arn_names_its_partition_and_account() {
        let arn = RoleArn::parse("arn:aws-cn:iam::111111111111:role/dns/zonefold").unwrap();
        assert_eq!((arn.partition(), arn.account().as_str()), (Partition::AwsCn, "111111111111"));
        for bad in [
            "",
            "nothing-valid-in-here",
            "arn:aws:iam::111111111111:user/zonefold",
            "arn:aws:iam:us-east-1:111111111111:role/zonefold",
            "arn:aws:sts::111111111111:role/zonefold",
            "arn:aws-eu:iam::111111111111:role/zonefold",
            "arn:aws:iam::1111:role/zonefold",
            "arn:aws:iam::111111111111:role/",
            "arn:aws:iam::111111111111:role/zone fold",
            "arn:aws:iam::111111111111:role/zone:fold",
        ] {
            assert!(RoleArn::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_external_id_keeps_to_the_characters_of_sts_and_is_not_printed() {
        let id = ExternalId::parse("zf:dev/1").unwrap();
        assert_eq!(format!("{id:?}"), "***");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"***\"");
        for bad in ["a", "with space", "qu\"ote", &"x".repeat(1_225)] {
            assert!(ExternalId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
