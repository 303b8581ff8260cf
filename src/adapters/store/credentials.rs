//! Sessions of people, and tokens of people and of machines, by the hashes of their secrets.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use uuid::Uuid;

use super::codec::{from_json, to_json};
use super::error::corrupt;
use super::transaction::Transaction;
use super::value::Row;
use super::{SqlStore, in_transaction};
use crate::core::governance::actor::Actor;
use crate::core::people::credential::{Credential, CredentialKind, SignedInPerson, TokenScope};
use crate::core::time::Timestamp;
use crate::ports::{CredentialFilter, Credentials, SecretHash, StoreError};

/// What no query asks for.
#[derive(Serialize, Deserialize)]
struct CredentialBody {
    person: Option<SignedInPerson>,
    scope: Option<TokenScope>,
    made_by: Actor,
}

fn body_of(credential: &Credential) -> Result<String, StoreError> {
    let Credential { person, scope, made_by, .. } = credential.clone();
    to_json(&CredentialBody { person, scope, made_by })
}

fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn holder(credential: &Credential) -> &str {
    credential.person.as_ref().map_or("", |person| person.user.as_str())
}

const COLUMNS: &str = "credential_id, kind, name, made_at, ends_at, revoked_at, used_at, body";

fn read(row: &Row) -> Result<Credential, StoreError> {
    let CredentialBody { person, scope, made_by } = from_json("credential", row.text("body")?)?;
    let kind = row.text("kind")?;
    Ok(Credential {
        id: Uuid::from_slice(row.bytes("credential_id")?)
            .map_err(|error| corrupt("id of a credential", error))?,
        kind: CredentialKind::parse(kind)
            .ok_or_else(|| corrupt("credential", format_args!("{kind:?} is no kind")))?,
        name: row.text("name")?.to_owned(),
        person,
        scope,
        made_by,
        made_at: Timestamp(row.int("made_at")?),
        ends_at: Timestamp(row.int("ends_at")?),
        revoked_at: row.int_or_null("revoked_at")?.map(Timestamp),
        used_at: row.int_or_null("used_at")?.map(Timestamp),
    })
}

const INSERT: &str = "
    insert into credentials (credential_id, hash, kind, name, holder, made_at, ends_at, body)
    values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing";

pub(super) async fn add(
    transaction: &mut Transaction,
    hash: &SecretHash,
    credential: &Credential,
) -> Result<bool, StoreError> {
    let arguments = [
        id_bytes(credential.id).into(),
        (*hash).into(),
        credential.kind.as_str().into(),
        credential.name.clone().into(),
        holder(credential).into(),
        credential.made_at.0.into(),
        credential.ends_at.0.into(),
        body_of(credential)?.into(),
    ];
    Ok(transaction.execute(INSERT, arguments).await? > 0)
}

pub(super) async fn by_hash(
    transaction: &mut Transaction,
    hash: &SecretHash,
) -> Result<Option<Credential>, StoreError> {
    let query = format!("select {COLUMNS} from credentials where hash = $1");
    transaction.fetch_optional(&query, [(*hash).into()]).await?.as_ref().map(read).transpose()
}

pub(super) async fn by_id(
    transaction: &mut Transaction,
    id: Uuid,
) -> Result<Option<Credential>, StoreError> {
    let query = format!("select {COLUMNS} from credentials where credential_id = $1");
    transaction.fetch_optional(&query, [id_bytes(id).into()]).await?.as_ref().map(read).transpose()
}

pub(super) async fn list(
    transaction: &mut Transaction,
    filter: &CredentialFilter,
) -> Result<Vec<Credential>, StoreError> {
    let query = format!(
        "select {COLUMNS} from credentials
          where ($1 is null or kind = $1) and ($2 is null or holder = $2)
            and ($3 is null or made_at < $3 or (made_at = $3 and credential_id < $4))
          order by made_at desc, credential_id desc limit $5"
    );
    let arguments = [
        filter.kind.map(|kind| kind.as_str().to_owned()).into(),
        filter.holder.clone().into(),
        filter.before.map(|(at, _)| at.0).into(),
        filter.before.map(|(_, id)| id_bytes(id)).into(),
        i64::from(filter.limit).into(),
    ];
    transaction.fetch(&query, arguments).await?.iter().map(read).collect()
}

pub(super) async fn revoke(
    transaction: &mut Transaction,
    id: Uuid,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let update = "
        update credentials set revoked_at = $2 where credential_id = $1 and revoked_at is null";
    Ok(transaction.execute(update, [id_bytes(id).into(), at.0.into()]).await? > 0)
}

pub(super) async fn note_use(
    transaction: &mut Transaction,
    id: Uuid,
    at: Timestamp,
) -> Result<(), StoreError> {
    let update = "
        update credentials set used_at = $2
         where credential_id = $1 and (used_at is null or used_at < $2)";
    transaction.execute(update, [id_bytes(id).into(), at.0.into()]).await.map(drop)
}

/// Another account of the provider that goes by the same name has no part in the tokens of the first.
pub(super) async fn refresh_person(
    transaction: &mut Transaction,
    person: &SignedInPerson,
) -> Result<(), StoreError> {
    let query = format!(
        "select {COLUMNS} from credentials
          where holder = $1 and kind = 'person' and revoked_at is null{}",
        transaction.for_update()
    );
    let rows = transaction.fetch(&query, [person.user.clone().into()]).await?;
    for row in &rows {
        let mut credential = read(row)?;
        let is_theirs = credential
            .person
            .as_ref()
            .is_some_and(|of| of.issuer == person.issuer && of.subject == person.subject);
        if is_theirs && credential.person.as_ref() != Some(person) {
            credential.person = Some(person.clone());
            let update = "update credentials set body = $2 where credential_id = $1";
            let arguments = [id_bytes(credential.id).into(), body_of(&credential)?.into()];
            transaction.execute(update, arguments).await?;
        }
    }
    Ok(())
}

pub(super) async fn add_code(
    transaction: &mut Transaction,
    hash: &SecretHash,
    ends_at: Timestamp,
    body: &str,
) -> Result<(), StoreError> {
    let insert = "
        insert into sign_in_codes (hash, ends_at, body) values ($1, $2, $3) on conflict do nothing";
    transaction.execute(insert, [(*hash).into(), ends_at.0.into(), body.into()]).await.map(drop)
}

pub(super) async fn has_code(
    transaction: &mut Transaction,
    hash: &SecretHash,
) -> Result<bool, StoreError> {
    let query = "select 1 from sign_in_codes where hash = $1";
    Ok(transaction.fetch_optional(query, [(*hash).into()]).await?.is_some())
}

pub(super) async fn take_code(
    transaction: &mut Transaction,
    hash: &SecretHash,
) -> Result<Option<(Timestamp, String)>, StoreError> {
    let delete = "delete from sign_in_codes where hash = $1 returning ends_at, body";
    let row = transaction.fetch_optional(delete, [(*hash).into()]).await?;
    row.map(|row| Ok((Timestamp(row.int("ends_at")?), row.text("body")?.to_owned()))).transpose()
}

const PRUNE: &str = "
    delete from credentials where ends_at < $1 or (revoked_at is not null and revoked_at < $1)";

pub(super) async fn prune(
    transaction: &mut Transaction,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let codes = "delete from sign_in_codes where ends_at < $1";
    transaction.execute(codes, [before.0.into()]).await?;
    transaction.execute(PRUNE, [before.0.into()]).await
}

#[async_trait]
impl Credentials for SqlStore {
    async fn add_credential(
        &self,
        hash: &SecretHash,
        credential: &Credential,
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), super::credentials::add, hash, credential)
    }

    async fn credential_by_hash(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<Credential>, StoreError> {
        in_transaction!(self.reading(), super::credentials::by_hash, hash)
    }

    async fn credential(&self, id: Uuid) -> Result<Option<Credential>, StoreError> {
        in_transaction!(self.reading(), super::credentials::by_id, id)
    }

    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, StoreError> {
        in_transaction!(self.reading(), super::credentials::list, filter)
    }

    async fn revoke_credential(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), super::credentials::revoke, id, at)
    }

    async fn note_credential_use(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self.writing(), super::credentials::note_use, id, at)
    }

    async fn refresh_person(&self, person: &SignedInPerson) -> Result<(), StoreError> {
        in_transaction!(self.writing(), super::credentials::refresh_person, person)
    }

    async fn add_sign_in_code(
        &self,
        hash: &SecretHash,
        ends_at: Timestamp,
        body: &str,
    ) -> Result<(), StoreError> {
        in_transaction!(self.writing(), super::credentials::add_code, hash, ends_at, body)
    }

    async fn take_sign_in_code(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<(Timestamp, String)>, StoreError> {
        // Whoever guesses codes has no part in the turns of those who write.
        if !in_transaction!(self.reading(), super::credentials::has_code, hash)? {
            return Ok(None);
        }
        in_transaction!(self.writing(), super::credentials::take_code, hash)
    }

    async fn prune_credentials(&self, before: Timestamp) -> Result<u64, StoreError> {
        in_transaction!(self.writing(), super::credentials::prune, before)
    }
}
