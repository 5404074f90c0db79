module yodel

go 1.26.0
