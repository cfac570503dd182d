# commit.c: bitmaps count as durable that were written while the flush was under way
s/marks_durable = c->marks/marks_durable = c->img->space.marks/
