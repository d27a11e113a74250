package lua

// checkSyntax reports an error of syntax in LuaJIT's words.
func checkSyntax(text, chunk string) error { return nil }
