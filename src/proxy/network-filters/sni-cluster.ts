// Envoy's network filter `sni_cluster`: the TCP proxy goes to the cluster that is named as the server that
// the client asked for.

import { SniClusterSchema } from '../../generated/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster_pb.ts';
import type { TcpSessionFilterFactory } from './tcp-session-filter.ts';

export const sniClusterFactory: TcpSessionFilterFactory = {
	typeUrl: 'type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster',
	compile(config, context) {
		config.message(SniClusterSchema, {});
		return {
			name: context.name,
			chooseCluster: (info) => (info.requestedServerName === '' ? null : info.requestedServerName),
		};
	},
};
