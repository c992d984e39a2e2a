module sallyport.dev/test/kubernetes

go 1.19

require k8s.io/client-go v0.35.4
