package lua

import "limpet/nginxconf"

func recognised(s *nginxconf.Setting, sc *script) (bool, error) { return false, nil }
