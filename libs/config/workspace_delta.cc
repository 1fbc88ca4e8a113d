#include "libs/config/workspace_delta.h"

#include <google/protobuf/util/message_differencer.h>

#include <string_view>

#include "libs/base/string_map.h"

namespace millrace::config {
namespace {

using google::protobuf::util::MessageDifferencer;

template <typename List, typename Deleted>
void DiffList(const List& from, const List& to, List* upserted, Deleted* deleted) {
  StringMap<const typename List::value_type*> before;
  for (const auto& entity : from) before[entity.id()] = &entity;
  for (const auto& entity : to) {
    const auto found = before.find(entity.id());
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
    if (gone.contains(entity.id())) continue;
    places[entity.id()] = patched.size();
    patched.Add()->Swap(&entity);
  }
  for (const auto& entity : upserted) {
    const auto found = places.find(entity.id());
    if (found == places.end()) *patched.Add() = entity;
    else patched[found->second] = entity;
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
  return delta;
}

StatusOr<v1::Workspace> ApplyDelta(const v1::Workspace& workspace, const v1::WorkspaceDelta& delta) {
  if (delta.from_revision() != workspace.revision()) {
    return Error(StatusCode::kFailedPrecondition, "a change of revision {} came, revision {} is held",
                 delta.from_revision(), workspace.revision());
  }
  v1::Workspace next = workspace;
  next.set_revision(delta.to_revision());
  next.set_updated_at_us(delta.updated_at_us());
  PatchList(delta.upserted_sources(), delta.deleted_source_ids(), next.mutable_sources());
  PatchList(delta.upserted_destinations(), delta.deleted_destination_ids(),
            next.mutable_destinations());
  PatchList(delta.upserted_connections(), delta.deleted_connection_ids(), next.mutable_connections());
  return next;
}

}  // namespace millrace::config
