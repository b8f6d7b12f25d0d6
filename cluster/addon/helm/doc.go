// Package helm installs the Helm charts that HelmChart objects ask for, as k3s's
// helm-controller does, but in this process: no job, no pod and no image is needed for it.
//
// A HelmChart (helm.cattle.io/v1) is a release of the same name. A HelmChartConfig of its
// name and namespace changes its values. Values are, the later the stronger: the chart's
// own, of the HelmChart valuesContent, values, valuesSecrets, then the same three of the
// HelmChartConfig, then the HelmChart's set.
//
// What a release was made from is a digest in a label of the release's Secret, which is
// k3s's label too. A release that is deployed and has the wanted digest is left alone, so
// a start of the node costs some reads. A release of k3s's has another digest: it is
// upgraded once.
//
// Deleting a HelmChart uninstalls its release; the finalizer is k3s's. Nothing is fetched
// for that. While this component does not run, HelmCharts are not acted on and nothing is
// uninstalled.
//
// Conditions of a HelmChart: Ready is what a person wants to know, with the revision and the
// chart's version, or the error in full. Failed is k3s's, True from an error until the next
// success. JobCreated is k3s's and False: there is no job.
//
// One chart is worked on at a time, but an action that waits holds nobody up. A failing
// chart is tried again after 5 s, doubling up to 5 min. A change of the HelmChart, of its HelmChartConfig or of a Secret of values
// ends the waiting and an action under way.
package helm
