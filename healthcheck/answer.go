package healthcheck

type answer struct{}
