// Without the other types, getTopic gives everything as a Blob, and a list comes unparsed.
export default {
  gateway: {
    input: '../../api/openapi.yaml',
    output: {
      target: '../generated/orval/client.ts',
      schemas: '../generated/orval/model',
      client: 'fetch',
      urlEncodeParameters: true,
      baseUrl: { runtime: 'process.env.GATEWAY' },
      override: { contentType: { include: ['application/json', 'application/problem+json'] } },
    },
  },
};
