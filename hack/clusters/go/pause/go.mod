module isthmus.test/pause

go 1.21
