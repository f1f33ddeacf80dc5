-- Push is a third way for messages. Its deliveries name a device, never the token: that is looked up when
-- it is used.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_channel_check;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_channel_check CHECK (channel IN ('sms', 'email', 'push'));

-- When another channel was tried in its place; set from the beginning on what stands in for another.
ALTER TABLE deliveries ADD COLUMN fell_back_at timestamptz;

-- The sign-in that a device was registered in: when that ends, it gets nothing any more.
ALTER TABLE devices ADD COLUMN session_id uuid;

-- What a person does not want, by kind and channel: {"welcome": {"sms": false}}. What is not there is on.
ALTER TABLE profiles ADD COLUMN notification_preferences jsonb NOT NULL DEFAULT '{}';

-- A person's own messages, newest first, a page at a time: the index gives the order too.
DROP INDEX deliveries_user_idx;
CREATE INDEX deliveries_user_idx ON deliveries (user_id, created_at, delivery_id) WHERE user_id IS NOT NULL;
