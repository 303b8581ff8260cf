//! Answers that break off are no answers.
//!
//! The SDK's reader of XML takes the end of the text for the end of whatever it reads. A list that a proxy or a dying connection
//! cut short would pass for a short list, and what is missing in it for deleted.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Refuses the good answers of Route 53 and STS that do not end as they began. A refusal by AWS counts however little of it came.
#[derive(Debug)]
pub(super) struct WholeAnswers;

/// The end of the document is missing.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off after {bytes} bytes")]
struct Broken {
    bytes: usize,
}

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        match response.body().bytes() {
            Some(body) if response.status().is_success() && !is_whole(body) => {
                Err(Broken { bytes: body.len() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the last thing in a document is the end of its root, which in Route 53 and STS is named `…Response`.
fn is_whole(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    let Some(tag) = body.rsplit(|byte| *byte == b'<').next() else { return false };
    let is_empty_root =
        tag.ends_with(b"/>") && body.iter().filter(|byte| **byte == b'<').count() <= 2;
    (tag.starts_with(b"/") && tag.ends_with(b"Response>")) || is_empty_root
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "<?xml version=\"1.0\"?>\n<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
        <ResourceRecordSets><ResourceRecordSet><Name>a.</Name></ResourceRecordSet></ResourceRecordSets>\
        <IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>\n";

    #[test]
    fn a_list_that_breaks_off_anywhere_is_not_whole() {
        assert!(is_whole(LIST.as_bytes()) && is_whole(LIST.trim_end().as_bytes()));
        for length in 0..LIST.trim_end().len() {
            assert!(!is_whole(&LIST.as_bytes()[..length]), "{}", &LIST[..length]);
        }
    }

    #[test]
    fn an_answer_that_says_nothing_is_whole() {
        assert!(is_whole(b"<?xml version=\"1.0\"?><ChangeTagsForResourceResponse xmlns=\"x\"/>"));
        assert!(!is_whole(b"") && !is_whole(b"bad gateway"));
    }
}
