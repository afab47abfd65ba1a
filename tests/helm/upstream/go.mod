// Where tests take upstream's charts from. Nothing here is compiled: the module
// only pins the version, whose folder the Go command puts into its cache.
module pilothouse.test/helm/upstream

go 1.26.0

require istio.io/istio v0.0.0-20260827124520-eed52ebb66ad
