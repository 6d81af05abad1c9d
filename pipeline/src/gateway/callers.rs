//! Who sends events: bearer tokens, each with its tenant and its topics.
//!
//! The configuration holds digests of tokens and no tokens. A digest is compared with every known one, in a time that does not
//! depend on where they differ.

use super::answers::Refused;
use crate::config::{GatewayConfig, TokenConfig};
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Somebody who may send events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Whose events they are.
    pub(super) tenant: String,
    /// Topics that it may send to; all where there are none.
    topics: Vec<String>,
}

impl Caller {
    /// Whether it may send to a topic, without tenant.
    pub(super) fn may_send_to(&self, topic: &str) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|allowed| allowed == topic)
    }
}

/// Everybody who may.
#[derive(Clone, Debug)]
pub(super) struct Callers {
    tokens: Arc<[TokenConfig]>,
}

impl Callers {
    /// Those of the configuration.
    pub(super) fn of(config: &GatewayConfig) -> Self {
        Self {
            tokens: config.tokens.clone().into(),
        }
    }

    /// Whether callers must say who they are.
    pub(super) fn are_named(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Who sends this. Without tokens anybody who reaches us is the tenant `default`: only this machine does.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        if !self.are_named() {
            return Ok(Caller {
                tenant: cairn_topics::DEFAULT_TENANT.to_owned(),
                topics: Vec::new(),
            });
        }
        let refused = |message: &str| {
            Refused::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                message,
                "header Authorization",
                "send `Authorization: Bearer TOKEN` with a token that gateway.tokens knows",
            )
        };
        let said = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| refused("no token was sent"))?;
        let token = said
            .as_bytes()
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, token)| token.trim_ascii())
            .ok_or_else(|| refused("the authorization is no bearer token"))?;
        let digest = format!("{:x}", Sha256::digest(token));
        let mut found = None;
        for known in self.tokens.iter() {
            // all of them, whichever it is
            if is_equal(known.sha256.as_bytes(), digest.as_bytes()) {
                found = Some(known);
            }
        }
        let found = found.ok_or_else(|| refused("the token is not known"))?;
        Ok(Caller {
            tenant: found.tenant.clone(),
            topics: found.topics.clone(),
        })
    }
}

/// Compares without telling by its time where two texts differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let differing = one
        .iter()
        .zip(other)
        .fold(0, |differing, (one, other)| differing | (one ^ other));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `secret`, as `printf %s secret | sha256sum` prints it.
    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn said(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = authorization.parse().expect("a header");
        headers.insert(header::AUTHORIZATION, value);
        headers
    }

    #[test]
    fn a_token_says_whose_events_they_are() {
        let callers = Callers::of(&GatewayConfig {
            tokens: vec![TokenConfig {
                sha256: SECRET.to_owned(),
                tenant: "acme".to_owned(),
                topics: vec!["eval.results".to_owned()],
            }],
            ..GatewayConfig::default()
        });
        for authorization in ["Bearer secret", "bearer secret "] {
            let caller = callers.caller(&said(authorization)).expect("known");
            assert_eq!(caller.tenant, "acme");
            assert!(caller.may_send_to("eval.results"));
            assert!(!caller.may_send_to("telemetry.training"));
        }
        for authorization in ["Bearer secre", "Bearer ", "Basic secret", "secret", "Bearé"] {
            let refused = callers.caller(&said(authorization)).expect_err("unknown");
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{authorization}");
        }
        assert!(callers.caller(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_tokens_everybody_is_the_default_tenant() {
        let callers = Callers::of(&GatewayConfig::default());
        let caller = callers.caller(&HeaderMap::new()).expect("anybody");
        assert_eq!(caller.tenant, "default");
        assert!(caller.may_send_to("telemetry.training"));
    }
}
