// Patterns of names that a command line and the join door accept, as Kubernetes has them.

/** RFC 1123 label. */
export const WORKLOAD_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1035 label, as services are named. */
export const SERVICE_NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1123 subdomain, as service accounts are named. */
export const SERVICE_ACCOUNT_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
