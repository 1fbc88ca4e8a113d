#include "libs/destination/catalogue_functions.h"

namespace millrace::destination {

Status UnknownType(const Catalogue& catalogue, std::string_view type) {
  std::string known;
  for (const auto* one : catalogue.List())
    known += (known.empty() ? "" : ", ") + one->definition.id();
  return Error(StatusCode::kInvalidArgument, "there is no destination type '{}'; there are: {}",
               type, known);
}

StatusOr<Catalogue> LoadCatalogue(const std::string& folder) {
  Catalogue catalogue = Catalogue::Builtin();
  if (!folder.empty()) MR_RETURN_IF_ERROR(catalogue.LoadFolder(folder));
  return catalogue;
}

std::function<const v1::Definition*(std::string_view)> DefinitionsOf(const Catalogue& catalogue) {
  return [&catalogue](std::string_view type) -> const v1::Definition* {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? nullptr : &found->definition;
  };
}

std::function<StatusOr<Config>(const config::v1::Destination&)> ConfigsOf(
    const Catalogue& catalogue) {
  return [&catalogue](const config::v1::Destination& configured) -> StatusOr<Config> {
    const DestinationType* found = catalogue.Find(configured.type());
    if (found == nullptr) return UnknownType(catalogue, configured.type());
    return NormaliseConfig(found->definition, configured.config_json());
  };
}

std::function<bool(std::string_view type)> WarehouseTestOf(const Catalogue& catalogue) {
  return [find = DefinitionsOf(catalogue)](std::string_view type) {
    const v1::Definition* definition = find(type);
    return definition != nullptr && definition->kind() == v1::WAREHOUSE;
  };
}

std::function<Status(std::string_view, std::string_view)> ValidatorOf(const Catalogue& catalogue) {
  return [&catalogue](std::string_view type, std::string_view config_json) -> Status {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? UnknownType(catalogue, type)
                            : NormaliseConfig(found->definition, config_json).status();
  };
}

std::function<std::string(std::string_view, std::string_view)> MaskerOf(
    const Catalogue& catalogue) {
  return [&catalogue](std::string_view type, std::string_view config_json) -> std::string {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? "{}" : MaskSecrets(found->definition, config_json);
  };
}

}  // namespace millrace::destination
