-- Retention: a delivery that a later outcome has overtaken, and what is looked for when finished work is removed.

ALTER TABLE callback_deliveries DROP CONSTRAINT callback_deliveries_state_check;
ALTER TABLE callback_deliveries ADD CONSTRAINT callback_deliveries_state_check
    CHECK (state IN ('due', 'delivered', 'dead', 'superseded')) NOT VALID;
ALTER TABLE callback_deliveries VALIDATE CONSTRAINT callback_deliveries_state_check;

-- The last word about the entity: its purge is over for good, with all its objects gone or forced to leave some.
ALTER TABLE callback_deliveries ADD COLUMN final boolean NOT NULL DEFAULT false;
UPDATE callback_deliveries SET final = true WHERE error IS NULL;

-- The last word about an entity, by the time at which its receiver had it.
CREATE INDEX callback_deliveries_told ON callback_deliveries (finished_at) WHERE state = 'delivered' AND final;
