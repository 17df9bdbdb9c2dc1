// The page does not store the service key that a person types in.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#api",
  deepLinking: true,
  persistAuthorization: false,
  // Otherwise the page would send the description to a validator on another server.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
