-- Pictures that are yet to be made ready: of whom no job will.
CREATE INDEX profiles_picture_waiting_idx ON profiles (user_id) WHERE picture_waiting IS NOT NULL;
