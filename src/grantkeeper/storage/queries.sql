-- Every statement of the product. `-- query: name` begins one; `-- part: name` is a piece of one,
-- such as a list of columns, that queries take in as {name}. The same text runs on SQLite and PostgreSQL; `:name` is a parameter.
-- The one exception is {skip_locked}, FOR UPDATE SKIP LOCKED on PostgreSQL: claimers pass over the rows that
-- another is just claiming, where they would else wait for each other until one is told of a deadlock.
-- SQLite has one writer at a time and nothing to skip.

-- part: connection
uuid, account_uuid, provider, client_id, label, status, created_at, updated_at, scopes, generation, token_type,
refreshable, subject, identity, access_token_expires_at, refresh_token_expires_at, refreshed_at, next_refresh_at,
failures, failure, must_act, lease_expires_at

-- What whoever holds a lease gets to know besides.
-- part: claim
{connection}, lease_fence, sealed_tokens, sealed_previous, previous_spare, unsettled_at, unsettled_owner, used_at,
issued_at

-- What the next token set changes, however it came.
-- part: next_generation
status = 'active', scopes = :scopes, generation = generation + 1, token_type = :token_type,
refreshable = :refreshable, sealed_tokens = :sealed_tokens, access_token_expires_at = :access_token_expires_at,
refresh_token_expires_at = :refresh_token_expires_at, refreshed_at = :now,
next_refresh_at = :next_refresh_at, failures = 0, failure = NULL, must_act = 'nobody', unsettled_at = NULL,
unsettled_owner = NULL

-- What is replaced is kept, still sealed as it was. Spare: not known to have been spent.
-- part: keep_previous
sealed_previous = sealed_tokens, previous_issued_at = issued_at

-- part: lease_free
(lease_expires_at IS NULL OR lease_expires_at <= :now)

-- A lease that lapsed leaves an attempt whose outcome nobody knows, until a token set is stored. Its owner is waited
-- for; one that lost its lease while it waited itself has asked nothing, so whom it waited for stays.
-- part: take_lease
unsettled_at = CASE WHEN lease_owner IS NULL THEN unsettled_at ELSE lease_expires_at END,
unsettled_owner = CASE WHEN lease_owner IS NULL THEN unsettled_owner ELSE COALESCE(unsettled_owner, lease_owner) END,
lease_owner = :owner, lease_fence = lease_fence + 1, lease_expires_at = :until

-- part: changed_status
updated_at = CASE WHEN status = 'active' THEN updated_at ELSE :now END

-- part: summary
uuid, label, provider, created_at, updated_at, access_token_expires_at, refresh_token_expires_at

-- part: personal_access_token
uuid, user_uuid, account_uuid, name, scopes, created_at, expires_at, last_used_at, revoked_at

-- part: client_key
kid, kind, name, algorithm, created_at, signs_from, retired_at, withdrawn_at, public_jwk, chain, kms_key, sealed_key

-- part: held_grant
handle_hash, account_uuid, user_uuid, provider, client_id, connection_uuid, redirect_to, expires_at, sealed_grant


-- query: get_instance_value
SELECT value FROM instance WHERE name = :name

-- query: put_instance_value
INSERT INTO instance (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING


-- query: add_account
INSERT INTO accounts (uuid, name, wrapped_keyset, root_key_id, created_at)
VALUES (:uuid, :name, :wrapped_keyset, :root_key_id, :created_at)

-- query: list_accounts
SELECT uuid, name, created_at FROM accounts ORDER BY created_at, uuid

-- query: get_account_keyset
SELECT wrapped_keyset FROM accounts WHERE uuid = :uuid

-- query: get_any_account_keyset
SELECT uuid, wrapped_keyset FROM accounts LIMIT 1

-- query: list_root_key_ids
SELECT DISTINCT root_key_id FROM accounts

-- query: add_user
INSERT INTO users (uuid, email, name, password_hash, created_at)
VALUES (:uuid, :email, :name, :password_hash, :created_at) ON CONFLICT (email) DO NOTHING

-- query: list_users
SELECT uuid, email, name, created_at FROM users WHERE deleted_at IS NULL ORDER BY created_at, uuid

-- query: get_user
SELECT uuid, email, name, created_at, password_hash FROM users WHERE uuid = :uuid AND deleted_at IS NULL

-- query: get_user_by_email
SELECT uuid, email, name, created_at, password_hash FROM users WHERE email = :email AND deleted_at IS NULL

-- query: set_password
UPDATE users SET password_hash = :password_hash WHERE uuid = :uuid AND deleted_at IS NULL

-- query: delete_user
UPDATE users SET deleted_at = :now, email = :email WHERE uuid = :uuid AND deleted_at IS NULL

-- query: revoke_user_tokens
UPDATE personal_access_tokens SET revoked_at = :now WHERE user_uuid = :user_uuid AND revoked_at IS NULL

-- query: add_login
INSERT INTO logins (uuid, user_uuid, account_uuid, created_at)
VALUES (:uuid, :user_uuid, :account_uuid, :created_at) ON CONFLICT (user_uuid, account_uuid) DO NOTHING

-- query: delete_login
DELETE FROM logins WHERE user_uuid = :user_uuid AND account_uuid = :account_uuid

-- query: list_logins
SELECT l.uuid, l.created_at, u.uuid, u.email, u.name, u.created_at, a.uuid, a.name, a.created_at
FROM logins l JOIN users u ON u.uuid = l.user_uuid JOIN accounts a ON a.uuid = l.account_uuid
WHERE u.uuid = :user_uuid AND u.deleted_at IS NULL ORDER BY l.created_at, l.uuid

-- query: list_account_logins
SELECT l.uuid, l.created_at, u.uuid, u.email, u.name, u.created_at, a.uuid, a.name, a.created_at
FROM logins l JOIN users u ON u.uuid = l.user_uuid JOIN accounts a ON a.uuid = l.account_uuid
WHERE a.uuid = :account_uuid AND u.deleted_at IS NULL ORDER BY l.created_at, l.uuid

-- query: add_personal_access_token
INSERT INTO personal_access_tokens (uuid, token_hash, user_uuid, account_uuid, name, scopes, created_at, expires_at)
VALUES (:uuid, :token_hash, :user_uuid, :account_uuid, :name, :scopes, :created_at, :expires_at)

-- query: list_personal_access_tokens
SELECT {personal_access_token} FROM personal_access_tokens WHERE user_uuid = :user_uuid ORDER BY created_at, uuid

-- query: get_live_token
SELECT t.uuid, t.user_uuid, t.account_uuid, t.name, t.scopes, t.created_at, t.expires_at, t.last_used_at, t.revoked_at
FROM personal_access_tokens t JOIN users u ON u.uuid = t.user_uuid
WHERE t.token_hash = :token_hash AND t.revoked_at IS NULL AND u.deleted_at IS NULL
AND (t.expires_at IS NULL OR t.expires_at > :now)
AND (t.account_uuid IS NULL OR EXISTS (
    SELECT 1 FROM logins l WHERE l.user_uuid = t.user_uuid AND l.account_uuid = t.account_uuid))

-- query: revoke_personal_access_token
UPDATE personal_access_tokens SET revoked_at = :now WHERE uuid = :uuid AND revoked_at IS NULL

-- query: touch_personal_access_token
UPDATE personal_access_tokens SET last_used_at = :now
WHERE uuid = :uuid AND (last_used_at IS NULL OR last_used_at < :now)

-- query: add_uses
INSERT INTO rate_windows (subject, window_start, uses) VALUES (:subject, :window_start, :uses)
ON CONFLICT (subject, window_start) DO UPDATE SET uses = rate_windows.uses + excluded.uses RETURNING uses

-- query: purge_rate_windows
DELETE FROM rate_windows WHERE window_start < :before


-- query: add_session
INSERT INTO sessions (token_hash, user_uuid, account_uuid, created_at, expires_at)
VALUES (:token_hash, :user_uuid, :account_uuid, :created_at, :expires_at)

-- query: get_session
SELECT s.user_uuid, s.account_uuid, u.email, u.name, u.created_at, a.name, a.created_at, l.uuid, l.created_at
FROM sessions s JOIN users u ON u.uuid = s.user_uuid
JOIN logins l ON l.user_uuid = s.user_uuid AND l.account_uuid = s.account_uuid
JOIN accounts a ON a.uuid = s.account_uuid
WHERE s.token_hash = :token_hash AND s.expires_at > :now AND u.deleted_at IS NULL

-- query: set_session_account
UPDATE sessions SET account_uuid = :account_uuid WHERE token_hash = :token_hash

-- query: delete_session
DELETE FROM sessions WHERE token_hash = :token_hash

-- query: delete_user_sessions
DELETE FROM sessions WHERE user_uuid = :user_uuid

-- query: purge_sessions
DELETE FROM sessions WHERE expires_at <= :now


-- query: add_connection
INSERT INTO connections (uuid, account_uuid, provider, client_id, label, label_key, status, created_at, updated_at,
    scopes, generation, token_type, refreshable, subject, identity, sealed_tokens, access_token_expires_at,
    refresh_token_expires_at, refreshed_at, next_refresh_at, failures, must_act, lease_fence, issued_at,
    previous_spare, consent_generation, used_at)
VALUES (:uuid, :account_uuid, :provider, :client_id, :label, :label_key, 'active', :now, :now,
    :scopes, 1, :token_type, :refreshable, :subject, :identity, :sealed_tokens, :access_token_expires_at,
    :refresh_token_expires_at, :now, :next_refresh_at, 0, 'nobody', 0, :issued_at, 0, 1, :now)

-- query: get_connection
SELECT {connection} FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid

-- query: find_connection
SELECT {connection} FROM connections WHERE uuid = :uuid

-- query: get_connection_tokens
SELECT {connection}, sealed_tokens, used_at FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid

-- query: list_connection_labels
SELECT label FROM connections WHERE account_uuid = :account_uuid AND provider = :provider

-- query: set_label
UPDATE connections SET label = :label, label_key = :label_key, updated_at = :now
WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}

-- query: delete_connection
DELETE FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}, sealed_tokens

-- query: replace_grant
UPDATE connections SET {next_generation},
    issued_at = CASE WHEN issued_at < :issued_at THEN :issued_at ELSE issued_at + 1 END, client_id = :client_id, updated_at = :now,
    subject = COALESCE(:subject, subject), identity = COALESCE(:identity, identity),
    sealed_previous = NULL, previous_issued_at = NULL, previous_spare = 0, consent_generation = generation + 1,
    used_at = :now, lease_owner = NULL, lease_expires_at = NULL, lease_fence = lease_fence + 1
WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}

-- query: touch_connection
UPDATE connections SET used_at = :now WHERE uuid = :uuid AND used_at < :now

-- query: claim
UPDATE connections SET {take_lease} WHERE uuid = :uuid AND generation = :generation AND {lease_free}
RETURNING {claim}

-- The predicate stands inside and outside: with it inside only, two claimers that picked the same rows
-- both get them on PostgreSQL.
-- query: claim_due
WITH due AS MATERIALIZED (
    SELECT uuid FROM connections WHERE provider = :provider AND next_refresh_at <= :now AND {lease_free}
    ORDER BY next_refresh_at LIMIT :most {skip_locked})
UPDATE connections SET {take_lease}
WHERE uuid IN (SELECT uuid FROM due) AND next_refresh_at <= :now AND {lease_free}
RETURNING {claim}

-- From provider to provider by the index, whatever lies between: the cost grows with providers, not connections.
-- It begins with SELECT, so that SQLite runs it as a read, which waits for no writer.
-- query: list_provider_dues
SELECT named.provider, (SELECT min(c.next_refresh_at) FROM connections c WHERE c.provider = named.provider),
    s.blocked_until
FROM (
    WITH RECURSIVE walk (provider) AS (
        SELECT min(provider) FROM connections
        UNION ALL
        SELECT (SELECT min(c.provider) FROM connections c WHERE c.provider > walk.provider)
        FROM walk WHERE walk.provider IS NOT NULL)
    SELECT provider FROM walk) AS named
LEFT JOIN provider_states s ON s.provider = named.provider WHERE named.provider IS NOT NULL

-- query: count_due
SELECT count(*) FROM connections WHERE provider = :provider AND next_refresh_at <= :now

-- query: renew_lease
UPDATE connections SET lease_expires_at = :until
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence

-- query: release_lease
UPDATE connections SET lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence

-- Whoever holds the lease waits for nobody any more: from here on it is its own attempt that may end without word.
-- query: begin_asking
UPDATE connections SET unsettled_owner = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence

-- Few rows at any time: those that are being refreshed.
-- query: list_waited_for
SELECT uuid FROM connections WHERE lease_owner IS NOT NULL AND unsettled_owner = :owner

-- query: stand_down
UPDATE connections SET unsettled_owner = NULL WHERE uuid = :uuid AND unsettled_owner = :owner

-- The owner stays, so that the next one knows of an attempt without an outcome.
-- query: lapse_leases
UPDATE connections SET lease_expires_at = :now WHERE lease_owner = :owner AND lease_expires_at > :now

-- query: save_refresh
UPDATE connections SET {next_generation}, issued_at = :issued_at, {keep_previous}, previous_spare = 0, {changed_status},
    lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence AND generation = :generation
RETURNING {connection}

-- Whoever has the lease now has stored nothing yet, or the database has gone back to an earlier generation, as a copy
-- may that took over: what the provider gave is the next generation all the same.
-- query: reconcile_as_next
UPDATE connections SET {next_generation}, issued_at = :issued_at, {keep_previous}, previous_spare = 0, {changed_status}
WHERE uuid = :uuid AND generation <= :generation AND consent_generation <= :generation AND issued_at < :issued_at
RETURNING {connection}

-- Another token set was stored meanwhile, but was asked for earlier: both may be good.
-- query: reconcile_as_newest
UPDATE connections SET {next_generation}, issued_at = :issued_at, {keep_previous}, previous_spare = 1, {changed_status}
WHERE uuid = :uuid AND generation > :generation AND consent_generation <= :generation AND issued_at < :issued_at
RETURNING {connection}

-- Another token set was stored meanwhile, and was asked for later.
-- query: reconcile_as_previous
UPDATE connections SET sealed_previous = :sealed_tokens, previous_issued_at = :issued_at, previous_spare = 1
WHERE uuid = :uuid AND generation = :generation + 1 AND consent_generation <= :generation
AND issued_at > :issued_at AND (previous_issued_at IS NULL OR previous_issued_at < :issued_at)
RETURNING {connection}

-- query: get_unsettled_owner
SELECT unsettled_owner FROM connections WHERE uuid = :uuid

-- query: get_footing
SELECT unsettled_at, unsettled_owner, previous_issued_at, previous_spare, used_at FROM connections WHERE uuid = :uuid

-- query: get_issued_at
SELECT issued_at, previous_issued_at FROM connections WHERE uuid = :uuid

-- query: mark_unsettled
UPDATE connections SET unsettled_at = COALESCE(unsettled_at, :now)
WHERE uuid = :uuid AND generation > :generation AND consent_generation <= :generation

-- query: save_failure
UPDATE connections SET status = :status, failures = failures + 1, failure = :failure, must_act = :must_act,
    next_refresh_at = :next_refresh_at, updated_at = CASE WHEN status = :status THEN updated_at ELSE :now END,
    unsettled_at = CASE WHEN :unsettled = 0 THEN unsettled_at ELSE COALESCE(unsettled_at, :now) END,
    unsettled_owner = NULL,
    lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence AND generation = :generation
RETURNING {connection}


-- Makes the row where it is missing, and locks it until the transaction ends.
-- query: lock_provider
INSERT INTO provider_states (provider, next_slot_at, probes, must_act) VALUES (:provider, 0, 0, 'nobody')
ON CONFLICT (provider) DO UPDATE SET provider = excluded.provider
RETURNING blocked_until, probes, reason, must_act, next_slot_at

-- query: count_leases
SELECT count(*) FROM connections
WHERE provider = :provider AND lease_owner IS NOT NULL AND lease_expires_at > :now

-- query: use_slots
UPDATE provider_states SET next_slot_at = :next_slot_at WHERE provider = :provider

-- query: begin_probe
UPDATE provider_states SET blocked_until = :until WHERE provider = :provider

-- A probe that failed blocks on; anybody else blocks only what is not blocked already.
-- query: block_provider
UPDATE provider_states SET blocked_at = COALESCE(blocked_at, :now), blocked_until = :until, probes = probes + 1,
    reason = :reason, must_act = :must_act
WHERE provider = :provider AND (:probe = 1 OR blocked_until IS NULL)

-- query: unblock_provider
UPDATE provider_states SET blocked_at = NULL, blocked_until = NULL, probes = 0, reason = NULL, must_act = 'nobody'
WHERE provider = :provider AND blocked_until IS NOT NULL

-- query: probe_provider_now
UPDATE provider_states SET blocked_until = :now WHERE provider = :provider AND blocked_until > :now

-- query: list_provider_states
SELECT provider, blocked_at, blocked_until, probes, reason, must_act FROM provider_states ORDER BY provider

-- query: add_refresh
INSERT INTO refreshes (connection_uuid, account_uuid, provider, at, duration, outcome, generation, owner, must_act,
    reason)
VALUES (:connection_uuid, :account_uuid, :provider, :at, :duration, :outcome, :generation, :owner, :must_act, :reason)

-- query: list_refreshes
SELECT connection_uuid, account_uuid, provider, at, duration, outcome, generation, owner, must_act, reason
FROM refreshes WHERE connection_uuid = :connection_uuid ORDER BY seq DESC LIMIT :limit

-- query: purge_refreshes
DELETE FROM refreshes WHERE seq IN (SELECT seq FROM refreshes WHERE at < :before ORDER BY at LIMIT :most)


-- query: add_authorization
INSERT INTO authorizations (state_hash, account_uuid, user_uuid, provider, client_id, redirect_uri, browser_hash,
    created_at, expires_at, sealed_secrets, connection_uuid, redirect_to)
VALUES (:state_hash, :account_uuid, :user_uuid, :provider, :client_id, :redirect_uri, :browser_hash,
    :created_at, :expires_at, :sealed_secrets, :connection_uuid, :redirect_to)

-- query: get_authorization
SELECT state_hash, account_uuid, user_uuid, provider, client_id, redirect_uri, browser_hash, created_at, expires_at,
    connection_uuid, redirect_to, taken_at
FROM authorizations WHERE state_hash = :state_hash

-- query: take_authorization
UPDATE authorizations SET taken_at = :now
WHERE state_hash = :state_hash AND taken_at IS NULL RETURNING sealed_secrets

-- query: peek_authorization
SELECT sealed_secrets FROM authorizations WHERE state_hash = :state_hash AND taken_at IS NULL

-- query: claim_poll
UPDATE authorizations SET next_poll_at = :next_poll_at
WHERE state_hash = :state_hash AND taken_at IS NULL AND (next_poll_at IS NULL OR next_poll_at <= :now)
RETURNING state_hash

-- query: put_off_poll
UPDATE authorizations SET next_poll_at = :next_poll_at, sealed_secrets = :sealed_secrets
WHERE state_hash = :state_hash AND taken_at IS NULL

-- query: forget_authorization_secrets
UPDATE authorizations SET sealed_secrets = NULL WHERE state_hash = :state_hash

-- query: purge_authorizations
DELETE FROM authorizations WHERE expires_at <= :before

-- query: add_held_grant
INSERT INTO held_grants ({held_grant})
VALUES (:handle_hash, :account_uuid, :user_uuid, :provider, :client_id, :connection_uuid, :redirect_to,
    :expires_at, :sealed_grant)

-- query: take_held_grant
DELETE FROM held_grants WHERE handle_hash = :handle_hash AND account_uuid = :account_uuid AND user_uuid = :user_uuid
RETURNING {held_grant}

-- query: take_expired_held_grants
WITH due AS MATERIALIZED (
    SELECT handle_hash FROM held_grants WHERE expires_at <= :now
    ORDER BY expires_at LIMIT 100 {skip_locked})
DELETE FROM held_grants WHERE handle_hash IN (SELECT handle_hash FROM due)
RETURNING {held_grant}


-- query: add_revocation
INSERT INTO revocations (uuid, account_uuid, connection_uuid, provider, client_id, sealed_tokens, created_at,
    next_attempt_at, attempts)
VALUES (:uuid, :account_uuid, :connection_uuid, :provider, :client_id, :sealed_tokens, :now, :next_attempt_at, 0)

-- query: claim_revocations
WITH due AS MATERIALIZED (
    SELECT uuid FROM revocations WHERE next_attempt_at <= :now
    ORDER BY next_attempt_at LIMIT :most {skip_locked})
UPDATE revocations SET attempts = attempts + 1, next_attempt_at = :until
WHERE uuid IN (SELECT uuid FROM due)
AND next_attempt_at <= :now
RETURNING uuid, account_uuid, connection_uuid, provider, client_id, sealed_tokens, created_at, attempts

-- query: postpone_revocation
UPDATE revocations SET next_attempt_at = :next_attempt_at WHERE uuid = :uuid

-- query: delete_revocation
DELETE FROM revocations WHERE uuid = :uuid


-- Held until the transaction ends: whoever changes the client keys must know of every other change.
-- query: lock_client_keys
INSERT INTO instance (name, value) VALUES ('client_keys', :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- query: forget_private_keys
UPDATE client_keys SET sealed_key = NULL WHERE retired_at <= :now AND sealed_key IS NOT NULL

-- query: forget_client_keys
DELETE FROM client_keys WHERE withdrawn_at <= :now

-- query: list_client_keys
SELECT {client_key} FROM client_keys ORDER BY kind DESC, algorithm, name, signs_from DESC, created_at DESC, kid

-- query: add_client_key
INSERT INTO client_keys ({client_key})
VALUES (:kid, :kind, :name, :algorithm, :created_at, :signs_from, :retired_at, :withdrawn_at, :public_jwk, :chain,
    :kms_key, :sealed_key)
ON CONFLICT (kid) DO NOTHING

-- One that was to begin later still never does.
-- query: supersede_client_keys
UPDATE client_keys SET retired_at = CASE WHEN signs_from > :begins THEN signs_from ELSE :begins END,
    withdrawn_at = CASE WHEN signs_from > :begins THEN signs_from ELSE :begins END + :published_on
WHERE kid <> :kid AND kind = :kind AND name = :name AND COALESCE(algorithm, '') = :algorithm
AND (retired_at IS NULL OR retired_at > :begins)

-- query: retire_client_key
UPDATE client_keys SET retired_at = CASE WHEN retired_at <= :now THEN retired_at ELSE :now END,
    withdrawn_at = CASE WHEN withdrawn_at <= :withdrawn_at THEN withdrawn_at ELSE :withdrawn_at END, sealed_key = NULL
WHERE kid = :kid

-- query: begin_client_key
UPDATE client_keys SET signs_from = :now WHERE kid = :kid

-- query: extend_client_key
UPDATE client_keys SET retired_at = :retired_at, withdrawn_at = :withdrawn_at WHERE kid = :kid


-- query: get_provider_metadata
SELECT provider, issuer, resource, document, resource_document, resource_scope, fetched_at FROM provider_metadata
WHERE provider = :provider

-- query: put_provider_metadata
INSERT INTO provider_metadata
    (provider, issuer, resource, document, resource_document, resource_scope, fetched_at)
VALUES (:provider, :issuer, :resource, :document, :resource_document, :resource_scope, :fetched_at)
ON CONFLICT (provider) DO UPDATE SET issuer = excluded.issuer, resource = excluded.resource,
    document = excluded.document, resource_document = excluded.resource_document,
    resource_scope = excluded.resource_scope, fetched_at = excluded.fetched_at

-- query: delete_provider_metadata
DELETE FROM provider_metadata WHERE provider = :provider

-- query: get_provider_keys
SELECT jwks_url, jwks, fetched_at FROM provider_keys WHERE provider = :provider

-- query: put_provider_keys
INSERT INTO provider_keys (provider, jwks_url, jwks, fetched_at) VALUES (:provider, :jwks_url, :jwks, :fetched_at)
ON CONFLICT (provider) DO UPDATE SET jwks_url = excluded.jwks_url, jwks = excluded.jwks,
    fetched_at = excluded.fetched_at

-- query: get_registration
SELECT issuer, client_id, sealed_registration, created_at, expires_at FROM registrations
WHERE provider = :provider AND client_id IS NOT NULL

-- A claim that was not fulfilled lapses: its process has died. One that was is never claimed again.
-- query: claim_registration
INSERT INTO registrations (provider, issuer, owner, claimed_until, created_at)
VALUES (:provider, :issuer, :owner, :until, :now)
ON CONFLICT (provider) DO UPDATE SET issuer = excluded.issuer, owner = excluded.owner,
    claimed_until = excluded.claimed_until, created_at = excluded.created_at
WHERE registrations.client_id IS NULL AND registrations.claimed_until <= :now

-- query: keep_registration
UPDATE registrations SET owner = NULL, client_id = :client_id, sealed_registration = :sealed_registration,
    expires_at = :expires_at
WHERE provider = :provider AND owner = :owner AND client_id IS NULL

-- query: change_registration
UPDATE registrations SET sealed_registration = :sealed_registration, expires_at = :expires_at
WHERE provider = :provider AND client_id = :client_id

-- query: release_registration
DELETE FROM registrations WHERE provider = :provider AND owner = :owner AND client_id IS NULL

-- query: delete_registration
DELETE FROM registrations WHERE provider = :provider AND client_id = :client_id


-- query: add_evidence
INSERT INTO evidence (at, account_uuid, actor, action, connection_uuid, request_id, detail)
VALUES (:at, :account_uuid, :actor, :action, :connection_uuid, :request_id, :detail)

-- query: list_evidence
SELECT at, account_uuid, actor, action, connection_uuid, request_id, detail FROM evidence
WHERE account_uuid = :account_uuid AND connection_uuid = :connection_uuid ORDER BY seq


-- What time it was when this installation last ran, for the next start.

-- query: note_clock
INSERT INTO instance (name, value) VALUES ('clock', :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- query: get_noted_clock
SELECT value FROM instance WHERE name = 'clock'
