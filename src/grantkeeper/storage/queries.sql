-- Every statement of the product. `-- query: name` begins one; `-- part: name` is a piece of one,
-- such as a list of columns, that queries take in as {name}. The same text runs on SQLite and PostgreSQL; `:name` is a parameter.
-- The one exception is {skip_locked}, FOR UPDATE SKIP LOCKED on PostgreSQL: claimers pass over the rows that
-- another is just claiming, where they would else wait for each other until one is told of a deadlock.
-- SQLite has one writer at a time and nothing to skip.

-- part: connection
uuid, account_uuid, provider, client_id, label, status, created_at, updated_at, scopes, generation, token_type,
refreshable, subject, identity, access_token_expires_at, refresh_token_expires_at, refreshed_at, next_refresh_at,
failures, failure, must_act, lease_expires_at

-- What the next token set changes, however it came.
-- part: next_generation
status = 'active', scopes = :scopes, generation = generation + 1, token_type = :token_type,
refreshable = :refreshable, sealed_tokens = :sealed_tokens, access_token_expires_at = :access_token_expires_at,
refresh_token_expires_at = :refresh_token_expires_at, refreshed_at = :now, next_refresh_at = :next_refresh_at,
failures = 0, failure = NULL, must_act = 'nobody'

-- part: summary
uuid, label, provider, created_at, updated_at, access_token_expires_at, refresh_token_expires_at

-- part: personal_access_token
uuid, user_uuid, account_uuid, name, scopes, created_at, expires_at, last_used_at, revoked_at

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
    refresh_token_expires_at, refreshed_at, next_refresh_at, failures, must_act, lease_fence)
VALUES (:uuid, :account_uuid, :provider, :client_id, :label, :label_key, 'active', :now, :now,
    :scopes, 1, :token_type, :refreshable, :subject, :identity, :sealed_tokens, :access_token_expires_at,
    :refresh_token_expires_at, :now, :next_refresh_at, 0, 'nobody', 0)

-- query: get_connection
SELECT {connection} FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid

-- query: find_connection
SELECT {connection} FROM connections WHERE uuid = :uuid

-- query: get_connection_tokens
SELECT {connection}, sealed_tokens FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid

-- query: list_connection_labels
SELECT label FROM connections WHERE account_uuid = :account_uuid AND provider = :provider

-- query: set_label
UPDATE connections SET label = :label, label_key = :label_key, updated_at = :now
WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}

-- query: delete_connection
DELETE FROM connections WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}, sealed_tokens

-- query: replace_grant
UPDATE connections SET {next_generation}, client_id = :client_id, updated_at = :now,
    subject = COALESCE(:subject, subject), identity = COALESCE(:identity, identity),
    lease_owner = NULL, lease_expires_at = NULL, lease_fence = lease_fence + 1
WHERE uuid = :uuid AND account_uuid = :account_uuid RETURNING {connection}

-- query: claim
UPDATE connections SET lease_owner = :owner, lease_fence = lease_fence + 1, lease_expires_at = :until
WHERE uuid = :uuid AND generation = :generation AND (lease_expires_at IS NULL OR lease_expires_at <= :now)
RETURNING {connection}, lease_fence, sealed_tokens

-- The predicate stands inside and outside: with it inside only, two claimers that picked the same rows
-- both get them on PostgreSQL.
-- query: claim_due
WITH due AS MATERIALIZED (
    SELECT uuid FROM connections WHERE next_refresh_at <= :now
    AND (lease_expires_at IS NULL OR lease_expires_at <= :now)
    ORDER BY next_refresh_at LIMIT :most {skip_locked})
UPDATE connections SET lease_owner = :owner, lease_fence = lease_fence + 1, lease_expires_at = :until
WHERE uuid IN (SELECT uuid FROM due)
AND next_refresh_at <= :now AND (lease_expires_at IS NULL OR lease_expires_at <= :now)
RETURNING {connection}, lease_fence, sealed_tokens

-- query: next_due_at
SELECT min(next_refresh_at) FROM connections WHERE next_refresh_at IS NOT NULL

-- query: renew_lease
UPDATE connections SET lease_expires_at = :until
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence

-- query: save_refresh
UPDATE connections SET {next_generation},
    updated_at = CASE WHEN status = 'active' THEN updated_at ELSE :now END,
    lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence AND generation = :generation
RETURNING {connection}

-- Our lease lapsed and another owner took it, but has stored nothing yet: what the provider gave is kept.
-- query: save_refresh_after_lapse
UPDATE connections SET {next_generation},
    updated_at = CASE WHEN status = 'active' THEN updated_at ELSE :now END
WHERE uuid = :uuid AND generation = :generation
RETURNING {connection}

-- query: save_failure
UPDATE connections SET status = :status, failures = failures + 1, failure = :failure, must_act = :must_act,
    next_refresh_at = :next_refresh_at, updated_at = CASE WHEN status = :status THEN updated_at ELSE :now END,
    lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence AND generation = :generation
RETURNING {connection}

-- query: release_lease
UPDATE connections SET lease_owner = NULL, lease_expires_at = NULL
WHERE uuid = :uuid AND lease_owner = :owner AND lease_fence = :fence


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


-- query: add_evidence
INSERT INTO evidence (at, account_uuid, actor, action, connection_uuid, request_id, detail)
VALUES (:at, :account_uuid, :actor, :action, :connection_uuid, :request_id, :detail)

-- query: list_evidence
SELECT at, account_uuid, actor, action, connection_uuid, request_id, detail FROM evidence
WHERE account_uuid = :account_uuid AND connection_uuid = :connection_uuid ORDER BY seq
