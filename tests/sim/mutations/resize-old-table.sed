# resize.c: commits go on with the table at its old place
s/^\timg->table_offset = r->table;$//
