package pool

func beChild() {}
