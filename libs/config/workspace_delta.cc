#include "libs/config/workspace_delta.h"

#include <google/protobuf/util/message_differencer.h>

#include <string_view>

#include "libs/base/string_map.h"

namespace millrace::config {
namespace {

using google::protobuf::util::MessageDifferencer;

template <typename Entity>
const std::string& IdOf(const Entity& entity) {
  return entity.id();
}
const std::string& IdOf(const v1::Credential& credential) {
  return credential.key();
}

template <typename List, typename Deleted>
void DiffList(const List& from, const List& to, List* upserted, Deleted* deleted) {
  StringMap<const typename List::value_type*> before;
  for (const auto& entity : from) before[IdOf(entity)] = &entity;
  for (const auto& entity : to) {
    const auto found = before.find(IdOf(entity));
    if (found == before.end() || !MessageDifferencer::Equals(*found->second, entity)) {
      *upserted->Add() = entity;
    }
    if (found != before.end()) before.erase(found);
  }
  for (const auto& [id, entity] : before) *deleted->Add() = id;
}

template <typename List, typename Deleted>
void PatchList(const List& upserted, const Deleted& deleted, List* list) {
  StringSet gone(deleted.begin(), deleted.end());
  StringMap<int> places;
  List patched;
  for (auto& entity : *list) {
    if (gone.contains(IdOf(entity))) continue;
    places[IdOf(entity)] = patched.size();
    patched.Add()->Swap(&entity);
  }
  for (const auto& entity : upserted) {
    const auto found = places.find(IdOf(entity));
    if (found == places.end())
      *patched.Add() = entity;
    else
      patched[found->second] = entity;
  }
  list->Swap(&patched);
}

}  // namespace

v1::WorkspaceDelta MakeDelta(const v1::Workspace& from, const v1::Workspace& to) {
  v1::WorkspaceDelta delta;
  delta.set_from_revision(from.revision());
  delta.set_to_revision(to.revision());
  delta.set_updated_at_us(to.updated_at_us());
  DiffList(from.sources(), to.sources(), delta.mutable_upserted_sources(),
           delta.mutable_deleted_source_ids());
  DiffList(from.destinations(), to.destinations(), delta.mutable_upserted_destinations(),
           delta.mutable_deleted_destination_ids());
  DiffList(from.connections(), to.connections(), delta.mutable_upserted_connections(),
           delta.mutable_deleted_connection_ids());
  DiffList(from.transformations(), to.transformations(), delta.mutable_upserted_transformations(),
           delta.mutable_deleted_transformation_ids());
  DiffList(from.library_versions(), to.library_versions(),
           delta.mutable_upserted_library_versions(), delta.mutable_deleted_library_version_ids());
  DiffList(from.credentials(), to.credentials(), delta.mutable_upserted_credentials(),
           delta.mutable_deleted_credential_keys());
  return delta;
}

StatusOr<v1::Workspace> ApplyDelta(const v1::Workspace& workspace,
                                   const v1::WorkspaceDelta& delta) {
  if (delta.from_revision() != workspace.revision()) {
    return Error(StatusCode::kFailedPrecondition,
                 "a change of revision {} came, revision {} is held", delta.from_revision(),
                 workspace.revision());
  }
  v1::Workspace next = workspace;
  next.set_revision(delta.to_revision());
  next.set_updated_at_us(delta.updated_at_us());
  PatchList(delta.upserted_sources(), delta.deleted_source_ids(), next.mutable_sources());
  PatchList(delta.upserted_destinations(), delta.deleted_destination_ids(),
            next.mutable_destinations());
  PatchList(delta.upserted_connections(), delta.deleted_connection_ids(),
            next.mutable_connections());
  PatchList(delta.upserted_transformations(), delta.deleted_transformation_ids(),
            next.mutable_transformations());
  PatchList(delta.upserted_library_versions(), delta.deleted_library_version_ids(),
            next.mutable_library_versions());
  PatchList(delta.upserted_credentials(), delta.deleted_credential_keys(),
            next.mutable_credentials());
  return next;
}

}  // namespace millrace::config
