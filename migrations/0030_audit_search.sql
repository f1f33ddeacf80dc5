-- The audit log, searched. Each index leads to the newest lines of one thing that is searched for; what is
-- filtered beside it is sifted in bounded steps.

-- Whose line it is, where the thing it happened to is not the person: their key opens what is sealed in it.
ALTER TABLE audit ADD COLUMN owner uuid;

-- the whole log, newest first; an export
CREATE INDEX audit_at_idx ON audit (at);
-- by action or kind of thing; also what kinds of lines there are
CREATE INDEX audit_kind_idx ON audit (entity_type, action, at);
-- by address; what was blanked is not in it
CREATE INDEX audit_ip_idx ON audit (ip_address, at) WHERE ip_address IS NOT NULL;
-- by request
CREATE INDEX audit_request_idx ON audit (request_id) WHERE request_id IS NOT NULL;
-- what a person sees of what happened to what is theirs
CREATE INDEX audit_owner_idx ON audit (owner, at) WHERE owner IS NOT NULL;
