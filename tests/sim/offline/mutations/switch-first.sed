# compact.c: an entry leads to its new place before the copy is there
/^static int move_round(/,/^}/ s/err = copy_block(j, &m\[i\]);/set_entry(j, m[i].block, m[i].to >> VHD_SECTOR_SHIFT), err = write_table(j), err = err ?: copy_block(j, \&m[i]);/
