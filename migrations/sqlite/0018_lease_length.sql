-- How long a lease was taken for: one that ends later than that from now on was taken by a clock that was wrong, and is over. Absent in
-- rows that an earlier version wrote.
ALTER TABLE leases ADD COLUMN length_ms INTEGER;
