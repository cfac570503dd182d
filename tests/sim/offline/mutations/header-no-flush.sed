# compact.c: the header leads to a copy of the table that is not durable
/^static int copy_table(/,/^}/ s/return err ? err : flush(j);/return err;/
