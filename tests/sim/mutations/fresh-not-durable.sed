# space.c: slots count as fresh although no flush has covered their bitmaps
s/!sp->mark_reserved || sp->marks_durable != sp->marks/!sp->mark_reserved/
