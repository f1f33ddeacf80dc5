-- Where a consent was given from is kept for ninety days, as every address is. The line stays.
ALTER TABLE consents ALTER COLUMN ip_address DROP NOT NULL;
-- what is to be blanked, oldest first
CREATE INDEX consents_address_idx ON consents (at) WHERE ip_address IS NOT NULL;
-- That is the one change there is of a line.
DROP TRIGGER consents_no_update ON consents;
CREATE TRIGGER consents_no_update BEFORE UPDATE ON consents FOR EACH ROW
    WHEN (NEW.ip_address IS NOT NULL
          OR (NEW.consent_id, NEW.user_id, NEW.kind, NEW.text_version, NEW.given, NEW.at)
             IS DISTINCT FROM (OLD.consent_id, OLD.user_id, OLD.kind, OLD.text_version, OLD.given, OLD.at))
    EXECUTE FUNCTION refuse_change();
